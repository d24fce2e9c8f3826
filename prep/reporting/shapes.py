"""How unevenly interactions are spread over items and users: one number, or a few to draw."""

import numpy as np
from numpy.typing import NDArray

from prep.reporting.measures import share

Ints = NDArray[np.int64]


def share_of_top(descending: Ints, fraction: float) -> float | None:
    """Share of the interactions that the most popular items hold, at least one item."""
    top = max(round(len(descending) * fraction), 1)
    return share(int(descending[:top].sum()), int(descending.sum()))


def curve(descending: Ints, points: int = 120) -> list[list[int]]:
    """[rank, interactions] at ranks that are evenly spaced on a logarithmic axis, both ends included."""
    if len(descending) == 0:
        return []
    ranks = np.unique(np.geomspace(1, len(descending), points).round().astype(np.int64))
    return [[int(rank), int(descending[rank - 1])] for rank in ranks]


def histogram(lengths: Ints, bars: int = 30) -> list[dict[str, int]]:
    """Users by sequence length: equal ranges of lengths up to the 98th percentile, then the rest.

    Args:
        lengths: how many users have length 0, 1, 2, ...
        bars: how many ranges at most, besides the rest.

    Returns:
        `first` and `last` length of each range, both included, and its `users`.
    """
    present = np.flatnonzero(lengths)
    if len(present) == 0:
        return []
    reached = np.cumsum(lengths)
    usual = int(np.searchsorted(reached, 0.98 * reached[-1]))
    width = -(-usual // bars)
    firsts = list(range(1, usual + 1, max(width, 1)))
    ranges = [(first, first + width - 1) for first in firsts]
    if ranges[-1][1] < present[-1]:
        ranges.append((ranges[-1][1] + 1, int(present[-1])))
    return [
        {"first": first, "last": last, "users": int(lengths[first : last + 1].sum())}
        for first, last in ranges
    ]
