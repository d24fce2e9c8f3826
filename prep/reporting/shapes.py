"""Shapes of distributions: how interactions are distributed over items and users, as numbers and for plots."""

import numpy as np

from prep.reporting.measures import Ints, share


def share_of_top(descending: Ints, fraction: float) -> float | None:
    """Share of interactions with the most popular `fraction` of the items, at least one item."""
    top = max(round(len(descending) * fraction), 1)
    return share(int(descending[:top].sum()), int(descending.sum()))


def curve(descending: Ints, points: int = 120) -> list[list[int]]:
    """[rank, interactions] at ranks evenly spaced on a logarithmic axis, including both ends."""
    if len(descending) == 0:
        return []
    ranks = np.unique(np.geomspace(1, len(descending), points).round().astype(np.int64))
    return [[int(rank), int(descending[rank - 1])] for rank in ranks]


def histogram(lengths: Ints, bars: int = 30) -> list[dict[str, int]]:
    """Users by sequence length: equal ranges of lengths up to the 98th percentile, then the rest.

    Args:
        lengths: number of users with length 0, 1, 2, ...
        bars: maximum number of ranges, without the rest.

    Returns:
        `first` and `last` length of each range, both inclusive, and its number of `users`.
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


def summed(left: Ints, right: Ints) -> Ints:
    """The sum of two histograms over 0, 1, 2, ..., of which either may be longer.

    >>> summed(np.array([1, 2]), np.array([1, 0, 5])).tolist()
    [2, 2, 5]
    """
    size = max(len(left), len(right))
    padded = [np.pad(counts, (0, size - len(counts))) for counts in (left, right)]
    return padded[0] + padded[1]
