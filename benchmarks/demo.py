"""The whole pipeline on synthetic data, as `make demo` runs it: every command is printed, then run.

    python -m benchmarks.demo [--output demo]

Writes OUTPUT/dump, OUTPUT/dataset and OUTPUT/runs/NAME. Prints one table of test metrics, with an oracle that knows
how the dump was generated. An existing dump or dataset is reused.
"""

import argparse
import json
import os
import shlex
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import torch

from models.ranking.catalogue import Catalogue
from models.ranking.counting import count_ranks
from prep.synth.truth import oracle_scores
from toolkit import metrics, open_dataset
from toolkit.splits import Splits

BASELINES = ("popularity", "ease")
PRESETS = (*BASELINES, "id", "text-only", "image-caption", "video-caption", "raw-image")
SETTINGS = os.path.relpath(Path(__file__).parent / "demo.yaml")
COLUMNS = ("HR@10", "NDCG@10", "MRR@10")


def main() -> None:
    """Runs the commands and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, default=Path("demo"))
    parser.add_argument("--items", type=int, default=300)
    parser.add_argument("--users", type=int, default=1000)
    options = parser.parse_args()
    started = time.perf_counter()
    dump, dataset, runs = (options.output / name for name in ("dump", "dataset", "runs"))

    if not dump.exists():
        run("-m", "prep", "synth", dump, "--items", options.items, "--users", options.users)
    run("-m", "prep", "build", dump, dataset)
    run("-m", "prep", "check", dataset)
    for preset in PRESETS:
        shutil.rmtree(runs / preset, ignore_errors=True)
        launch = ("-m", "accelerate.commands.launch", "--num_processes", 1, "--num_machines", 1)
        precision = ("--mixed_precision", "no", "--dynamo_backend", "no")
        # The preset comes last, so that its own settings, such as the rate of `id`, override those of the demo.
        train = ("-m", "models.train", "--config", SETTINGS, "--config", preset)
        run(*launch, *precision, *train, "--data", dataset, "--output", runs / preset)

    print(table(dump, dataset, runs))
    print(
        f"{time.perf_counter() - started:.0f} s in total; next: look into {runs}, or open notebooks/"
    )


def run(*arguments: object) -> None:
    """Prints a Python command line and runs it. A failure ends the demo."""
    words = [str(argument) for argument in arguments]
    print("$ python", shlex.join(words), flush=True)
    done = subprocess.run([sys.executable, *words], env={**os.environ, "HF_HUB_OFFLINE": "1"})
    if done.returncode:
        sys.exit(done.returncode)


def table(dump: Path, dataset: Path, runs: Path) -> str:
    """Test metrics of every run, the oracle and chance, in percent with 95% intervals."""
    rows = {}
    for preset in PRESETS:
        report = json.loads((runs / preset / "metrics" / "test.json").read_text())
        rows[preset] = report["metrics"]
    splits = open_dataset(dataset).splits()
    rows["oracle, motion unseen"] = oracle(dump, dataset, splits, "shape", "colour")
    rows["oracle"] = oracle(dump, dataset, splits, "shape", "colour", "motion")
    lines = [
        "",
        f"test, protocol {splits.protocol}: {len(splits.user_ids):,} users, {len(splits.catalogue):,} items, in percent",
        f"{'':<24}" + "".join(f"{name:>24}" for name in COLUMNS),
    ]
    for name, found in rows.items():
        cells = [
            f"{100 * m['value']:6.2f} [{100 * m['low']:5.2f}, {100 * m['high']:5.2f}]"
            for m in (found[column] for column in COLUMNS)
        ]
        lines.append(f"{name:<24}" + "".join(f"{cell:>24}" for cell in cells))
    lines.append(f"{'chance':<24}{100 * 10 / len(splits.catalogue):>8.2f}")
    return "\n".join(lines)


def oracle(
    dump: Path, dataset: Path, splits: Splits, *attributes: str
) -> dict[str, dict[str, float]]:
    """Metrics of the generator's own preferences, ranked like the scores of a model."""
    data = open_dataset(dataset)
    user_ids, item_ids, scores = oracle_scores(dump, attributes=attributes)
    users = [user_ids.index(user) for user in splits.user_ids]
    numbers = data.item_ids.numbers(item_ids)
    by_number = np.full((len(users), len(item_ids) + 1), -np.inf)
    by_number[:, numbers] = scores[users]

    catalogue = torch.from_numpy(splits.catalogue.astype(np.int64))
    column = torch.full((len(item_ids) + 1,), -1)
    column[catalogue] = torch.arange(len(catalogue))
    test = splits.test
    rows, items = test.masked_pairs(np.arange(len(test)))
    masked = (torch.from_numpy(rows), torch.from_numpy(items.astype(np.int64)))
    ranks = count_ranks(
        torch.from_numpy(by_number)[:, catalogue],
        torch.from_numpy(test.targets.astype(np.int64)),
        masked,
        Catalogue(torch.empty(0), torch.empty(0), torch.ones(len(catalogue)), column),
    )
    return metrics.summarise(ranks.numpy())


if __name__ == "__main__":
    main()
