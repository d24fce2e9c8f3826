"""Sampled evaluation compared with full ranking: popularity on the Scientific set, protocol `paper`.

    python benchmarks/sampled.py --work FOLDER

Prints HR@10 and NDCG@10 over the full catalogue, and as if each target had been ranked among 999 or 99 other items.
These are drawn uniformly without replacement, so the number of them above the target is drawn from a hypergeometric
distribution.
"""

import argparse
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

import prep
from toolkit import metrics, open_dataset
from toolkit.splits import Splits

DUMP = Path(__file__).parents[1].parent / "shared" / "data" / "amazon-scientific"
NEGATIVES = (999, 99)
DRAWS = 20


def main() -> None:
    """Ingests, ranks and prints."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--work", type=Path, required=True)
    dataset = parser.parse_args().work / "dataset"
    prep.ingest(DUMP, dataset)
    ranks, ranked = popularity_ranks(open_dataset(dataset).splits(protocol="paper"))
    show("all items", metrics.summarise(ranks))
    generator = np.random.default_rng(0)
    for negatives in NEGATIVES:
        above = np.round(ranks - 1).astype(np.int64)
        below = np.maximum(ranked - 1 - above, 0)
        drawn = [generator.hypergeometric(above, below, negatives) for _ in range(DRAWS)]
        show(f"{negatives} sampled items", metrics.summarise(np.concatenate(drawn) + 1))


def popularity_ranks(splits: Splits) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Rank of each test target by training popularity, ties shared, and the number of ranked items."""
    test, counts = splits.test, splits.train_counts
    ranks, ranked = np.empty(len(test)), np.empty(len(test), dtype=np.int64)
    for row, target in enumerate(test.targets):
        scores = counts.astype(float)
        scores[test.masked(np.array([row]))] = -np.inf
        here = scores[splits.catalogue]
        ranks[row] = 1 + (here > scores[target]).sum() + ((here == scores[target]).sum() - 1) / 2
        ranked[row] = len(here)
    return ranks, ranked


def show(name: str, found: dict[str, dict[str, float]]) -> None:
    """Prints one line, in percent."""
    print(
        f"{name:<20}"
        + "  ".join(f"{m} {100 * found[m]['value']:.2f}" for m in ("HR@10", "NDCG@10"))
    )


if __name__ == "__main__":
    main()
