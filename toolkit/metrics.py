"""Ranking metrics as pure functions of ranks, with 95% confidence intervals over users.

Rank 1 is the top rank. Ties result in half ranks (`models.ranking.ranks`), so ranks are floats. A target that cannot be
ranked has an infinite rank, for which every metric is 0 at every cutoff. With one relevant item per user, HR@k, NDCG@k
and MRR@k depend only on the rank of that item.
"""

import math
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from toolkit.errors import UserError

CUTOFFS = (5, 10, 20, 50)
Z_95 = 1.959963984540054  # the standard normal's 97.5% quantile


def hit_rate(ranks: ArrayLike, k: int) -> NDArray[np.float64]:
    """HR@k of each user: 1 if rank <= k, else 0.

    >>> hit_rate([1, 10, 11], k=10).tolist()
    [1.0, 1.0, 0.0]
    """
    return (_checked(ranks) <= k).astype(np.float64)


def ndcg(ranks: ArrayLike, k: int) -> NDArray[np.float64]:
    """NDCG@k of each user with one relevant item: 1 / log2(rank + 1) if rank <= k, else 0.

    >>> ndcg([1, 3, 11], k=10).tolist()
    [1.0, 0.5, 0.0]
    """
    ranks = _checked(ranks)
    return np.where(ranks <= k, 1.0 / np.log2(ranks + 1.0), 0.0)


def mrr(ranks: ArrayLike, k: int) -> NDArray[np.float64]:
    """MRR@k of each user: 1 / rank if rank <= k, else 0.

    >>> mrr([1, 4, 11], k=10).tolist()
    [1.0, 0.25, 0.0]
    """
    ranks = _checked(ranks)
    return np.where(ranks <= k, 1.0 / ranks, 0.0)


METRICS: dict[str, Callable[[ArrayLike, int], NDArray[np.float64]]] = {
    "HR": hit_rate,
    "NDCG": ndcg,
    "MRR": mrr,
}


def summarise(
    ranks: ArrayLike, cutoffs: Sequence[int] = CUTOFFS, *, users: NDArray[np.int64] | None = None
) -> dict[str, dict[str, float]]:
    """Mean and 95% interval over users of every metric at every cutoff: `{"HR@10": {"value", "low", "high"}}`.

    A user with several targets counts once, with the mean over the targets, so that users with long histories do not
    dominate. HR is a proportion, so its interval is Wilson's, which is valid near 0 too; of means over several targets,
    which vary less than a proportion, it is conservative. NDCG and MRR use the normal approximation mean ± 1.96·s/√n,
    clipped to [0, 1].

    Args:
        ranks: (R,) ranks of the targets.
        cutoffs: cutoffs k.
        users: (R,) index of each target's user, 0..U-1; by default every target has another user.

    Raises:
        ValueError: if there are no ranks, or a rank is not a number or below 1.
    """
    summary = {}
    for name, metric in METRICS.items():
        for k in cutoffs:
            values = user_means(metric(ranks, k), users)
            low, high = _wilson(values) if name == "HR" else normal_interval(values, most=1.0)
            summary[f"{name}@{k}"] = {"value": float(values.mean()), "low": low, "high": high}
    return summary


def user_means(values: NDArray[np.float64], users: NDArray[np.int64] | None) -> NDArray[np.float64]:
    """(U,) the mean of each user's values; the values themselves if every one has another user.

    >>> user_means(np.array([1.0, 0.0, 0.5]), np.array([0, 0, 1])).tolist()
    [0.5, 0.5]
    """
    if users is None or len(users) == users.max(initial=-1) + 1:
        return values
    return np.bincount(users, values) / np.bincount(users)


def metric_at(name: str) -> tuple[str, int]:
    """The metric and the cutoff of a name.

    Raises:
        UserError: if the metric is unknown.

    >>> metric_at("ndcg@10")
    ('NDCG', 10)
    """
    kind, at, cutoff = str(name).upper().partition("@")
    if kind not in METRICS or not at or not cutoff.isdecimal() or int(cutoff) < 1:
        known = ", ".join(f"{metric}@K" for metric in METRICS)
        raise UserError(f"metric {name!r} is unknown: expected {known}, with K at least 1")
    return kind, int(cutoff)


def values_of_users(
    name: str, ranks: ArrayLike, users: NDArray[np.int64] | None
) -> NDArray[np.float64]:
    """(U,) a metric of each user: the mean over the user's targets.

    Args:
        name: such as `NDCG@10`.
        ranks: (R,) ranks of the targets.
        users: (R,) index of each target's user; None if every target has another user.

    Raises:
        UserError: if the metric is unknown.

    >>> values_of_users("HR@1", [1, 2, 1], np.array([0, 0, 1])).tolist()
    [0.5, 1.0]
    """
    metric, cutoff = metric_at(name)
    return user_means(METRICS[metric](ranks, cutoff), users)


def normal_interval(values: NDArray[np.float64], *, most: float) -> tuple[float, float]:
    """The 95% interval of a mean over users, mean ± 1.96·s/√n, clipped to [0, most].

    Args:
        values: (n,) values of a metric, n at least 1.
        most: the largest possible value of the metric; infinity for an unbounded metric.

    >>> normal_interval(np.array([0.5, 0.5]), most=1.0)
    (0.5, 0.5)
    """
    mean = float(values.mean())
    spread = float(values.std(ddof=1)) if values.size > 1 else 0.0
    half = Z_95 * spread / math.sqrt(values.size)
    return max(0.0, mean - half), min(most, mean + half)


def _checked(ranks: ArrayLike) -> NDArray[np.float64]:
    array = np.asarray(ranks, dtype=np.float64)
    if array.size == 0:
        raise ValueError("no ranks: metrics need at least one user")
    if not (array >= 1).all():
        raise ValueError(f"ranks must be numbers of at least 1, got {array[~(array >= 1)][:3]}")
    return array


def _wilson(hits: NDArray[np.float64]) -> tuple[float, float]:
    n, p = hits.size, float(hits.mean())
    centre = (p + Z_95**2 / (2 * n)) / (1 + Z_95**2 / n)
    half = Z_95 / (1 + Z_95**2 / n) * math.sqrt(p * (1 - p) / n + Z_95**2 / (4 * n * n))
    return max(0.0, centre - half), min(1.0, centre + half)
