"""The times from which exact quantiles of a log are computed, in passes (`toolkit.quantiles`)."""

from collections.abc import Iterator

from prep.reporting.chunks import Chunk, chunks
from prep.reporting.measures import Ints
from toolkit import Dataset
from toolkit.cuts import MIN_INTERACTIONS
from toolkit.quantiles import Histogram


def times_in_splits(chunk: Chunk) -> Ints:
    """The times of the interactions of users in the splits."""
    return chunk.time[chunk.rows_of(chunk.lengths >= MIN_INTERACTIONS)]


def all_times(data: Dataset) -> Iterator[Ints]:
    """The same of a dataset, in one pass."""
    return map(times_in_splits, chunks(data))


class Times:
    """Counts these times in a histogram, in a pass that has other counters too.

    Args:
        histogram: whose range has all times.
    """

    def __init__(self, histogram: Histogram) -> None:
        self.histogram = histogram

    def add(self, chunk: Chunk) -> None:
        """Counts the times of further users."""
        self.histogram.add(times_in_splits(chunk))
