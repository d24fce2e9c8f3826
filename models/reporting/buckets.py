"""Metrics and recommendations by item popularity, from cold to popular items.

R targets, N items, numbered 1..N; k recommended items per target.
"""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from toolkit import metrics
from toolkit.histories import Ints
from toolkit.measures import gini

SHOWN = ("HR@10", "NDCG@10")
Counts = NDArray[np.int64]


class Bucket(NamedTuple):
    """A range of training interactions per item.

    Args:
        first: smallest number.
        last: largest number, inclusive; None for the last bucket.
    """

    first: int
    last: int | None

    def holds(self, counts: Counts) -> NDArray[np.bool_]:
        """Which of the counts are in the range."""
        return (counts >= self.first) & (counts <= (np.inf if self.last is None else self.last))


BUCKETS = [
    *(Bucket(*ends) for ends in ((0, 0), (1, 4), (5, 9), (10, 19), (20, 49), (50, 99))),
    Bucket(100, None),
]


def describe_warmth(
    ranks: NDArray[np.float64],
    targets: Ints,
    counts: Counts,
    users: NDArray[np.int64] | None = None,
) -> list[dict[str, Any]]:
    """HR@10 and NDCG@10 by the target's training interactions. Buckets without users are left out.

    Args:
        ranks: (R,) ranks of the targets.
        targets: (R,) item numbers.
        counts: (N + 1,) training interactions per item.
        users: (R,) index of each target's user; by default every target has another user.
    """
    target_counts = counts[targets]
    users = np.arange(len(targets)) if users is None else users
    buckets = []
    for bucket in BUCKETS:
        inside = bucket.holds(target_counts)
        if inside.any():
            distinct, own = np.unique(users[inside], return_inverse=True)
            summary = metrics.summarise(ranks[inside], cutoffs=(10,), users=own)
            shown = {name: summary[name] for name in SHOWN}
            buckets.append({**bucket._asdict(), "users": len(distinct), "metrics": shown})
    return buckets


def describe_bias(lists: Ints, targets: Ints, catalogue: Ints, counts: Counts) -> dict[str, Any]:
    """Coverage and popularity of the recommended items, compared with the targets.

    Args:
        lists: (R, k) item numbers, padded with 0.
        targets: (R,) item numbers.
        catalogue: (C,) item numbers.
        counts: (N + 1,) training interactions per item.

    Returns:
        `recommended` and `taken`: the result of `_spread` for recommended items and targets; `buckets`: per bucket,
        its share of the catalogue, of the recommended items and of the targets.
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
    """Coverage and Gini index of the chosen items over the catalogue, and their training interactions."""
    frequencies = np.sort(np.bincount(chosen, minlength=len(counts))[catalogue])
    distinct = int((frequencies > 0).sum())
    return {
        "items": distinct,
        "coverage": distinct / len(catalogue),
        "gini": gini(frequencies),
        "mean_popularity": float(counts[chosen].mean()),
        "median_popularity": float(np.median(counts[chosen])),
    }
