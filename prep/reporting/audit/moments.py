"""Exact quantiles of the times of a log that is larger than memory, in passes over a histogram.

Each pass counts the times in `BUCKETS` equal buckets of the range that must contain the quantile. The next range is one
bucket: two passes resolve a millisecond in 34 years.
"""

import numpy as np

from prep.reporting.chunks import Chunk, walk
from toolkit import Dataset
from toolkit.cuts import MIN_INTERACTIONS

BUCKETS = 1 << 20


class Histogram:
    """Counts the times of users in the splits in equal buckets of a range.

    Args:
        first: first millisecond of the range.
        stop: one past the last.
    """

    def __init__(self, first: int, stop: int) -> None:
        self.first, self.stop = first, stop
        self.width = -(-(stop - first) // BUCKETS)  # rounded up
        self.counts = np.zeros(-(-(stop - first) // self.width), np.int64)
        self.below = self.total = 0

    def add(self, chunk: Chunk) -> None:
        """Counts the times of further users."""
        times = chunk.time[chunk.rows_of(chunk.lengths >= MIN_INTERACTIONS)]
        self.total += len(times)
        self.below += int(np.count_nonzero(times < self.first))
        inside = times[(times >= self.first) & (times < self.stop)]
        self.counts += np.bincount((inside - self.first) // self.width, minlength=len(self.counts))

    def bucket(self, index: int) -> tuple[int, int]:
        """The range of the bucket that holds the time with an index in ascending order."""
        reached = self.below + np.cumsum(self.counts)
        place = int(np.searchsorted(reached, index, side="right"))
        return self.first + place * self.width, self.first + (place + 1) * self.width


class Moments:
    """Quantiles of the times of the interactions of users in the splits.

    Args:
        data: dataset in which every interaction has a time.
        coarse: histogram of all times, of an earlier pass.
    """

    def __init__(self, data: Dataset, coarse: Histogram) -> None:
        self._data, self._coarse = data, coarse
        self.total = coarse.total

    def at(self, *indices: int) -> list[tuple[int, int]]:
        """The time with each index in ascending order, and the number of times before it, in one or more passes."""
        found: list[Histogram] = [self._narrow(self._coarse, index) for index in indices]
        walk(self._data, found)
        while any(histogram.width > 1 for histogram in found):
            found = [self._narrow(h, i) for h, i in zip(found, indices, strict=True)]
            walk(self._data, found)
        return [self._exact(h, i) for h, i in zip(found, indices, strict=True)]

    def _narrow(self, histogram: Histogram, index: int) -> Histogram:
        return Histogram(*histogram.bucket(index))

    def _exact(self, histogram: Histogram, index: int) -> tuple[int, int]:
        moment, _ = histogram.bucket(index)
        before = histogram.below + int(histogram.counts[: moment - histogram.first].sum())
        return moment, before


def quantile_index(share: float, count: int) -> int:
    """Index in ascending order of the moment before which at most a share of the times lies, as `toolkit.cuts` has it.

    >>> quantile_index(0.9, 10), quantile_index(1, 3)
    (9, 2)
    """
    return min(int(share * count + 1e-9), count - 1)
