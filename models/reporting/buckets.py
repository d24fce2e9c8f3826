"""Items apart by how often training saw them: cold, rare and popular ones.

S users, N items, numbered 1..N; k items are recommended to each user.
"""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from toolkit import metrics
from toolkit.measures import gini
from toolkit.splits import Ints

SHOWN = ("HR@10", "NDCG@10")
Counts = NDArray[np.int64]


class Bucket(NamedTuple):
    """Items with a number of training interactions in a range.

    Args:
        first: smallest number.
        last: largest, included; None of the last bucket.
    """

    first: int
    last: int | None

    def holds(self, counts: Counts) -> NDArray[np.bool_]:
        """Which of some counts lie in it."""
        return (counts >= self.first) & (counts <= (np.inf if self.last is None else self.last))


BUCKETS = [
    *(Bucket(*ends) for ends in ((0, 0), (1, 4), (5, 9), (10, 19), (20, 49), (50, 99))),
    Bucket(100, None),
]


def describe_warmth(
    ranks: NDArray[np.float64], targets: Ints, counts: Counts
) -> list[dict[str, Any]]:
    """HR@10 and NDCG@10 by how often training saw the target; buckets without a user are left out.

    Args:
        ranks: (S,) of the targets.
        targets: (S,) item numbers.
        counts: (N + 1,) how often each item occurs in training.
    """
    seen = counts[targets]
    found = []
    for bucket in BUCKETS:
        inside = bucket.holds(seen)
        if inside.any():
            summary = metrics.summarise(ranks[inside], cutoffs=(10,))
            users = int(inside.sum())
            shown = {name: summary[name] for name in SHOWN}
            found.append({**bucket._asdict(), "users": users, "metrics": shown})
    return found


def describe_bias(lists: Ints, targets: Ints, catalogue: Ints, counts: Counts) -> dict[str, Any]:
    """What is recommended beside what users really took: how much of the catalogue, and how popular.

    Args:
        lists: (S, k) item numbers, 0 where a list is shorter.
        targets: (S,) item numbers.
        catalogue: (C,) item numbers.
        counts: (N + 1,) how often each item occurs in training.

    Returns:
        `recommended` and `taken`: what `_spread` tells; `buckets`: for each, the share of the catalogue's items,
        of what is recommended and of what was taken.
    """
    listed = lists[lists > 0]
    items = counts[catalogue]
    buckets = [
        {
            **bucket._asdict(),
            "catalogue": float(bucket.holds(items).mean()),
            "recommended": float(bucket.holds(counts[listed]).mean()),
            "taken": float(bucket.holds(counts[targets]).mean()),
        }
        for bucket in BUCKETS
        if bucket.holds(items).any()
    ]
    return {
        "k": lists.shape[1],
        "recommended": _spread(listed, catalogue, counts),
        "taken": _spread(targets, catalogue, counts),
        "buckets": buckets,
    }


def _spread(chosen: Ints, catalogue: Ints, counts: Counts) -> dict[str, Any]:
    """How evenly items were chosen, and how often training saw the chosen ones."""
    times = np.sort(np.bincount(chosen, minlength=len(counts))[catalogue])
    distinct = int((times > 0).sum())
    return {
        "items": distinct,
        "coverage": distinct / len(catalogue),
        "gini": gini(times),
        "mean_popularity": float(counts[chosen].mean()),
        "median_popularity": float(np.median(counts[chosen])),
    }
