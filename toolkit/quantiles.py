"""The k-th smallest of numbers that are larger than memory."""

from collections.abc import Callable, Iterable

import numpy as np
from numpy.typing import NDArray

_BUCKETS = 1 << 20


def kth_smallest(parts: Callable[[], Iterable[NDArray[np.int64]]], index: int) -> tuple[int, int]:
    """The number with an index in ascending order, and how many numbers are smaller.

    Each pass counts the numbers in equal buckets of the range that contains the result; the next range is one of these
    buckets. Three passes resolve a millisecond in thirty million years.

    Args:
        parts: returns the numbers in one or more parts; called once per pass.
        index: from 0; less than the number of numbers.

    >>> kth_smallest(lambda: [np.array([5, 1]), np.array([9, 5])], 2)
    (5, 1)
    """
    bounds = [(int(part.min()), int(part.max())) for part in parts() if len(part)]
    first = min(low for low, _ in bounds)
    width = max(high for _, high in bounds) + 1 - first
    smaller = 0
    while width > 1:
        size = -(-width // _BUCKETS)  # of a bucket
        counts = np.zeros(-(-width // size), dtype=np.int64)
        for part in parts():
            inside = part[(part >= first) & (part < first + width)] - first
            counts += np.bincount(inside // size, minlength=len(counts))
        reached = smaller + np.cumsum(counts)
        bucket = int(np.searchsorted(reached, index, side="right"))
        smaller = int(reached[bucket] - counts[bucket])
        first, width = first + bucket * size, size
    return first, smaller
