"""Which texts go through an encoder together."""

from collections.abc import Iterator, Sequence

import numpy as np


def by_length(lengths: Sequence[int], budget: int) -> Iterator[list[int]]:
    """Rows of texts that are about as long, so that little of a batch is padding.

    The longest come first: what does not fit the memory shows at once.

    Args:
        lengths: tokens of each text.
        budget: tokens of a batch, padding counted; a text that is longer goes alone.

    >>> list(by_length([3, 9, 4, 4], budget=8))
    [[1], [2, 3], [0]]
    """
    rows = sorted(range(len(lengths)), key=lambda row: -lengths[row])
    while rows:
        count = max(budget // max(lengths[rows[0]], 1), 1)
        yield rows[:count]
        rows = rows[count:]


def least_padding(lengths: Sequence[int], budget: int, *, overhead: int) -> list[list[int]]:
    """Rows of texts in batches whose computation is the least, the longest texts first.

    A batch of n texts computes n times its longest text, and `overhead` beside. Of all ways to cut the texts, sorted by
    length, where the length changes, this one has the smallest sum (dynamic programming, quadratic in the number of
    distinct lengths).

    Args:
        lengths: tokens of each text.
        budget: tokens of a batch, padding counted; a text that is longer goes alone.
        overhead: what another batch costs, in tokens.

    >>> least_padding([3, 9, 4, 9, 3], budget=100, overhead=2)
    [[1, 3], [2, 0, 4]]
    """
    rows = sorted(range(len(lengths)), key=lambda row: -lengths[row])
    ordered = np.array([lengths[row] for row in rows], np.int64)
    cuts = np.flatnonzero(np.diff(ordered, prepend=-1))  # firsts of runs of equal length
    ends = np.append(cuts, len(ordered))
    cost, before = np.zeros(len(ends)), np.zeros(len(ends), np.int64)
    for end in range(1, len(ends)):
        tokens = (ends[end] - cuts[:end]) * ordered[cuts[:end]]
        found = cost[:end] + tokens + overhead * -(-tokens // budget)
        before[end] = found.argmin()
        cost[end] = found[before[end]]
    groups, end = [], len(ends) - 1
    while end > 0:
        groups.append(rows[ends[before[end]] : ends[end]])
        end = int(before[end])
    return [
        [group[index] for index in part]
        for group in reversed(groups)
        for part in by_length([lengths[row] for row in group], budget)
    ]
