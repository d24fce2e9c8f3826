"""Values of RecTools for the lists of `tests/toolkit/test_beyond_accuracy.py`, which keeps them.

    python -m venv FOLDER && FOLDER/bin/pip install rectools==0.19.0
    FOLDER/bin/python benchmarks/rectools_values.py

RecTools is no dependency of Versa: run it in an environment of its own. The cosine distance is RecTools' interface,
filled in here, because RecTools has Hamming distances alone.
"""

import numpy as np
import pandas as pd
from rectools import Columns, ExternalIds
from rectools.metrics import (
    AvgRecPopularity,
    CatalogCoverage,
    IntraListDiversity,
    MeanInvUserFreq,
    Serendipity,
)
from rectools.metrics.distances import PairwiseDistanceCalculator

TRAIN = {"a": [1, 2, 1], "b": [1, 3], "c": [1, 2], "d": [4, 4, 1]}
LISTS = {"u": [1, 2, 5], "v": [4, 3], "w": [2, 4, 3], "x": [6, 1, 2]}
TARGETS = {"u": [5], "v": [4], "w": [1], "x": [2]}
NONE = (np.nan, np.nan)
VECTORS = {1: (1, 0), 2: (0, 1), 3: (-1, 0), 4: (3, 0), 5: NONE, 6: (1, 1)}
CATALOGUE = range(1, 9)


class Cosine(PairwiseDistanceCalculator):
    """1 minus the cosine of two vectors."""

    def _get_distances_for_item_pairs(self, items_0: ExternalIds, items_1: ExternalIds):
        first, second = (
            np.array([VECTORS[item] for item in items]) for items in (items_0, items_1)
        )
        lengths = np.linalg.norm(first, axis=1) * np.linalg.norm(second, axis=1)
        return 1 - (first * second).sum(axis=1) / lengths


def main() -> None:
    """Prints the values per user and cutoff."""
    train, targets = interactions(TRAIN), interactions(TARGETS)
    lists = interactions(LISTS)
    lists[Columns.Rank] = lists.groupby(Columns.User).cumcount() + 1
    for k in (1, 2, 3):
        print(f"k = {k}")
        print("  coverage", CatalogCoverage(k=k, normalize=True).calc(lists, CATALOGUE))
        users = {
            "popularity": AvgRecPopularity(k=k).calc_per_user(lists, train),
            "novelty": MeanInvUserFreq(k=k).calc_per_user(lists, train),
            "serendipity": Serendipity(k=k).calc_per_user(lists, targets, train, CATALOGUE),
            "diversity": IntraListDiversity(k=k, distance_calculator=Cosine()).calc_per_user(lists),
        }
        for name, values in users.items():
            print(f"  {name}", values.tolist())


def interactions(items: dict[str, list[int]]) -> pd.DataFrame:
    """A row per user and item, in order."""
    rows = [(user, item) for user, row in items.items() for item in row]
    return pd.DataFrame(rows, columns=[Columns.User, Columns.Item])


if __name__ == "__main__":
    main()
