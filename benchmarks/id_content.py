"""ID, content, and ID + content on Scientific, beside EASE and popularity, over three seeds.

    python benchmarks/id_content.py --work FOLDER [--seeds 1 2 3] [--recipes popularity ease id content id-and-content]

Builds the dataset of `benchmarks/scientific.py` and trains each recipe with each seed; existing datasets and runs are
reused. Prints, for the test split and protocol `paper`, HR@10 and NDCG@10 in percent over all targets, over the targets
that occur in training (warm) and over those that do not (cold): the mean over seeds with the 95% interval over users of
a user's mean over seeds, and the difference from EASE of the same users (`toolkit.significance.paired_test`). Each run
keeps its best epoch by validation HR@10.
"""

import argparse
import sys
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from toolkit.console.door import run_command
from toolkit.significance import paired_test

sys.path.append(str(Path(__file__).parent))
from recipes import CONTENT, METRICS, describe, interval, never_trained_on, ranks_of, train
from scientific import prepare

EASE = "ease"
RECIPES = {
    "popularity": ["--recommender.kind", "popularity"],
    EASE: ["--recommender.kind", "ease"],
    "id": ["--config", "id"],
    "content": ["--config", "modern", *CONTENT],
    "id-and-content": ["--config", "id-and-content", "--towers", "[id, title_mean]"],
}
WITHOUT_SEEDS = ("popularity", EASE)  # nothing is drawn


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
    ranks: dict[str, NDArray[np.float64]] = {}
    for name in dict.fromkeys([EASE, *options.recipes]):
        seeds = options.seeds[:1] if name in WITHOUT_SEEDS else options.seeds
        runs = [options.work / f"id-content-{name}-{seed}" for seed in seeds]
        for run, seed in zip(runs, seeds, strict=True):
            train(dataset, run, [*RECIPES[name], "--train.seed", str(seed)], options.epochs)
            if name not in WITHOUT_SEEDS:
                print(f"{run.name}: {describe(run)}", flush=True)
        ranks[name] = np.stack([ranks_of(run, "paper") for run in runs])
        cold = never_trained_on(runs[0])
    print("\n".join(table(ranks, cold)))


def table(ranks: dict[str, NDArray[np.float64]], cold: NDArray[np.bool_]) -> list[str]:
    """Rows of the table: each recipe, over all, warm and cold targets.

    Args:
        ranks: (seeds, users) of each recipe, one of them EASE.
        cold: (users,) whether no training sequence contains the target.
    """
    lines = [
        "| recipe | targets | HR@10 | NDCG@10 | HR@10 - EASE | NDCG@10 - EASE | HR@10 of each seed |",
        "|---" * 7 + "|",
    ]
    for name, found in ranks.items():
        for targets, users in {"all": cold | ~cold, "warm": ~cold, "cold": cold}.items():
            here, ease = found[:, users], ranks[EASE][:, users]
            cells = [interval(metric(here, 10)) for metric in METRICS.values()]
            cells += [
                difference(metric(ease, 10), metric(here, 10)) if name != EASE else ""
                for metric in METRICS.values()
            ]
            seeds = ", ".join(f"{100 * hits.mean():.2f}" for hits in here <= 10)
            lines.append(f"| {name} | {targets} | {' | '.join(cells)} | {seeds} |")
    return lines


def difference(before: NDArray[np.float64], after: NDArray[np.float64]) -> str:
    """Mean over users of the difference of (seeds, users), in percent, with its 95% interval and p-value."""
    found = paired_test(100 * before.mean(axis=0), 100 * after.mean(axis=0))
    return f"{found.difference:+.2f} [{found.low:+.2f}, {found.high:+.2f}], p {found.p_value:.4f}"


if __name__ == "__main__":
    run_command(main)
