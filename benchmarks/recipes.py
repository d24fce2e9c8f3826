"""Metrics of the recipes on Scientific, with content and with ids, compared with published code, over three seeds.

    python benchmarks/recipes.py --work FOLDER [--seeds 1 2 3] [--recipes paper modern id] [--epochs N]

Builds the dataset of `benchmarks/scientific.py` (two towers from MiniLM) and trains each recipe with each seed. Existing
datasets and runs are reused. For the test split and two protocols, prints the mean over seeds with the 95% interval
over users of a user's mean over seeds, the value of each seed, and the same for targets that no training sequence
contains. Each run keeps its best epoch by validation HR@10, as `models.train` does.
"""

import argparse
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from models.evaluate import evaluate
from models.runs.run import load
from toolkit import metrics
from toolkit.console.door import run_command
from toolkit.store import read_file

sys.path.append(str(Path(__file__).parent))
from scientific import TOWERS, prepare  # needs the path above

CONTENT = TOWERS["two-towers"]
RECIPES = {
    "paper": ["--config", "paper", *CONTENT],
    "modern": ["--config", "modern", *CONTENT],
    "id": ["--config", "id", "--protocol", "unmasked"],
    "id-recbole": ["--config", "id-recbole"],
}
# Test HR@10 and NDCG@10, in percent, of published code on this split, by protocol (issue 6).
MARKS = {
    "paper": ("public IISAN, 20 epochs", 6.29, 3.81),
    "unmasked": ("RecBole SASRec, ids", 7.06, 4.90),
}
METRICS: dict[str, Callable[[NDArray[np.float64], int], NDArray[np.float64]]] = {
    "HR@10": metrics.hit_rate,
    "NDCG@10": metrics.ndcg,
}


def main() -> None:
    """Prepares, trains and prints."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--recipes", nargs="+", choices=list(RECIPES), default=list(RECIPES))
    parser.add_argument("--epochs", type=int, help="maximum number; by default that of the recipe")
    options = parser.parse_args()
    dataset = options.work / "dataset"
    prepare(dataset)
    lines = [
        "| recipe | protocol | targets | HR@10 | NDCG@10 | HR@10 of each seed |",
        "|---" * 6 + "|",
    ]
    for name in options.recipes:
        runs = [options.work / f"{name}-{seed}" for seed in options.seeds]
        for run, seed in zip(runs, options.seeds, strict=True):
            train(dataset, run, [*RECIPES[name], "--train.seed", str(seed)], options.epochs)
            print(f"{run.name}: {describe(run)}", flush=True)
        lines += table(name, runs)
    for protocol, (mark, hr, ndcg) in MARKS.items():
        lines.append(f"| {mark} | {protocol} | all | {hr:.2f} | {ndcg:.2f} | |")
    print("\n".join(lines))


def train(dataset: Path, run: Path, words: list[str], epochs: int | None) -> None:
    """Trains a run; an existing run is reused."""
    if (run / "metrics" / "test.json").exists():
        return
    words = [*words, "--data", str(dataset), "--output", str(run), "--resume"]
    if epochs:
        words += ["--train.epochs", str(epochs)]
    subprocess.run([sys.executable, "-m", "models.train", *words], check=True)


def describe(run: Path) -> str:
    """Best epoch, its validation HR@10, number of epochs and their median seconds."""
    log = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    best = next(entry for entry in log if "best_epoch" in entry)
    seconds = [entry["train_seconds"] for entry in log if "train_seconds" in entry]
    return (
        f"best epoch {best['best_epoch']} of {len(seconds)} (valid HR@10 {100 * best['valid HR@10']:.2f}), "
        f"median epoch {np.median(seconds):.1f} s"
    )


def table(name: str, runs: list[Path]) -> list[str]:
    """Rows of the table: both protocols, all targets and those that training never saw."""
    lines = []
    for protocol in MARKS:
        ranks = np.stack([ranks_of(run, protocol) for run in runs])
        unseen = never_trained_on(runs[0])
        for targets, columns in {"all": np.ones_like(unseen), "never seen": unseen}.items():
            cells = [interval(metric(ranks[:, columns], 10)) for metric in METRICS.values()]
            seeds = ", ".join(f"{100 * hits.mean():.2f}" for hits in ranks[:, columns] <= 10)
            lines.append(f"| {name} | {protocol} | {targets} | {' | '.join(cells)} | {seeds} |")
    return lines


def ranks_of(run: Path, protocol: str) -> NDArray[np.float64]:
    """Rank of every user's test target, in the dataset's order."""
    own = json.loads((run / "metrics" / "test.json").read_text())["protocol"]
    path = run / "ranks" / ("test.arrow" if own == protocol else f"test.{protocol}.arrow")
    if not path.exists():
        evaluate(run, protocol=protocol, progress=False)  # type: ignore[arg-type]
    ranks: NDArray[np.float64] = read_file(path).column("rank").to_numpy()
    return ranks


def never_trained_on(run: Path) -> NDArray[np.bool_]:
    """For each user, whether no training sequence contains the test target."""
    splits = load(run).splits
    unseen: NDArray[np.bool_] = splits.train_counts[splits.test.targets] == 0
    return unseen


def interval(values: NDArray[np.float64]) -> str:
    """Mean of (seeds, users) in percent, with the 95% interval over users of their means over seeds."""
    users = 100 * values.mean(axis=0)
    half = metrics.Z_95 * users.std(ddof=1) / len(users) ** 0.5
    return f"{users.mean():.2f} [{users.mean() - half:.2f}, {users.mean() + half:.2f}]"


if __name__ == "__main__":
    run_command(main)
