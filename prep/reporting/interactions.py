"""Facts about interactions, in one pass over complete users; memory holds a chunk and a few numbers per item."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from prep.reporting.chunks import ALL, CHUNK_ROWS, Chunk, Counter, in_time_order, walk
from prep.reporting.chunks import whole_users as whole_users
from prep.reporting.measures import share, spread, utc
from prep.reporting.order import Order
from prep.reporting.repetitions import Repetition, agree
from prep.reporting.shapes import curve, histogram, share_of_top, summed
from toolkit import Dataset
from toolkit.cuts import KEPT_BEYOND, MIN_INTERACTIONS
from toolkit.measures import gini

MAX_LEN = 10  # L of the paper's protocol
# Timestamps outside 1990-01-01 .. 2035-01-01 probably have another unit.
PLAUSIBLE_MS = (631_152_000_000, 2_051_222_400_000)


def describe_interactions(
    data: Dataset, *, counters: Sequence[Counter] = (), chunk_rows: int = CHUNK_ROWS
) -> dict[str, Any]:
    """Counts, sequence lengths, popularity, timestamps, repetitions, and the data that the splits will use.

    Args:
        data: the dataset.
        counters: what else to count in the same pass.
        chunk_rows: minimum number of rows per chunk; a user is never divided.

    Raises:
        UserError: if the table is missing or broken.
    """
    tally = _Tally(data.items)
    walk(data, [tally, *counters], columns=ALL, rows=chunk_rows)
    return tally.facts(data.items.column("item_id"))


class _Tally:
    """Running counts; N items."""

    def __init__(self, known: pa.Table) -> None:
        items = known.num_rows
        self.order = Order(known.column("item_id"))
        self.lengths = np.zeros(1, np.int64)  # users by their number of interactions
        self.popularity = np.zeros(items + 1, np.int64)  # interactions by item
        self.kept = np.zeros(items + 1, np.bool_)  # items that the splits will know
        self.first_ms: int | None = None
        self.last_ms: int | None = None
        self.null_times = 0
        self.implausible_times = 0
        self.identical = Repetition()
        self.repeated = Repetition()
        self.simultaneous = Repetition()

    def add(self, chunk: Chunk) -> None:
        """Counts the interactions of further users, whose rows must be complete."""
        self._add_lengths(chunk)
        self.popularity += np.bincount(chunk.item, minlength=len(self.popularity))
        self._add_times(chunk)
        self.order.add(chunk.user, chunk.item, chunk.table.column("timestamp_ms"))
        self._add_repetitions(chunk)

    def _add_lengths(self, chunk: Chunk) -> None:
        self.lengths = summed(self.lengths, np.bincount(chunk.lengths))
        length = np.repeat(chunk.lengths, chunk.lengths)
        to_end = np.repeat(chunk.stops, chunk.lengths) - np.arange(
            len(length)
        )  # 1 is a user's last
        kept = (length >= MIN_INTERACTIONS) & (to_end <= MAX_LEN + KEPT_BEYOND)
        self.kept[chunk.item[kept]] = True

    def _add_times(self, chunk: Chunk) -> None:
        times = chunk.time[chunk.dated]
        self.null_times += len(chunk.time) - len(times)
        if len(times) == 0:
            return
        first, last = int(times.min()), int(times.max())
        self.first_ms = first if self.first_ms is None else min(first, self.first_ms)
        self.last_ms = last if self.last_ms is None else max(last, self.last_ms)
        earliest, end = PLAUSIBLE_MS
        self.implausible_times += int(np.count_nonzero((times < earliest) | (times >= end)))

    def _add_repetitions(self, chunk: Chunk) -> None:
        user, item, time, dated = chunk.user, chunk.item, chunk.time, chunk.dated
        by_time = in_time_order(chunk)
        pairs = user.astype(np.int64) * (int(item.max()) + 1) + item
        order = by_time[np.argsort(pairs[by_time], kind="stable")]
        same_item = agree(user, order) & agree(item, order)
        self.repeated.add(chunk.table, order, same_item)
        both_dated = dated[order][1:] & dated[order][:-1]
        self.identical.add(chunk.table, order, same_item & both_dated & agree(time, order))
        order = by_time[dated[by_time]]
        self.simultaneous.add(chunk.table, order, agree(user, order) & agree(time, order))

    def facts(self, item_ids: pa.ChunkedArray) -> dict[str, Any]:
        """The counts as JSON."""
        user_item, user_time = ("user_id", "item_id"), ("user_id", "timestamp_ms")
        exact = self.identical.interactions - self.identical.groups
        repeats = self.repeated.interactions - self.repeated.groups
        return {
            "sequences": self._sequences(),
            "popularity": self._popularity(),
            "timestamps": self._timestamps(),
            "repetitions": {
                "identical": self.identical.facts((*user_item, "timestamp_ms"), item_ids),
                "repeated_items": self.repeated.facts(user_item, item_ids),
                "simultaneous": self.simultaneous.facts(user_time, item_ids),
                "exact_duplicates": exact,
                "repeats_at_other_times": repeats - exact,
            },
            "order": self.order.facts(untimed=self.null_times > 0),
            "splits": self._splits(),
        }

    def _sequences(self) -> dict[str, Any]:
        users = int(self.lengths.sum())
        short = int(self.lengths[:MIN_INTERACTIONS].sum())
        return {
            "users": users,
            "interactions": int(self.lengths @ np.arange(len(self.lengths))),
            "length": spread(np.arange(len(self.lengths)), self.lengths),
            "users_below_5": short,
            "share_below_5": share(short, users),
            "histogram": histogram(self.lengths),
        }

    def _popularity(self) -> dict[str, Any]:
        counts = np.sort(self.popularity[1:])[::-1]
        never = int(np.count_nonzero(counts == 0))
        return {
            "items": len(counts),
            "interactions_per_item": spread(counts),
            "items_never_seen": never,
            "share_never_seen": share(never, len(counts)),
            "share_of_top_1_percent": share_of_top(counts, 0.01),
            "share_of_top_10_percent": share_of_top(counts, 0.10),
            "gini": gini(counts[::-1]),
            "curve": curve(counts[counts > 0]),
        }

    def _timestamps(self) -> dict[str, Any]:
        total = int(self.lengths @ np.arange(len(self.lengths)))
        return {
            "first_ms": self.first_ms,
            "last_ms": self.last_ms,
            "first": utc(self.first_ms),
            "last": utc(self.last_ms),
            "share_null": share(self.null_times, total),
            "implausible": self.implausible_times,
        }

    def _splits(self) -> dict[str, Any]:
        lengths = np.arange(MIN_INTERACTIONS, len(self.lengths))
        users = self.lengths[MIN_INTERACTIONS:]
        return {
            "protocol": "paper",
            "max_len": MAX_LEN,
            "users": int(users.sum()),
            "items": int(np.count_nonzero(self.kept)),
            "interactions": int(users @ np.minimum(lengths, MAX_LEN + KEPT_BEYOND)),
        }
