"""Facts about interactions, in one pass over complete users, a few million rows at a time.

The table is sorted by user, so no operation needs more than one chunk: memory holds a chunk and a few numbers per
item, independent of the length of the table.
"""

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from prep.reporting.measures import share, spread, utc
from prep.reporting.order import Order
from prep.reporting.repetitions import Repetition, agree
from prep.reporting.shapes import curve, histogram, share_of_top
from toolkit import Dataset, schema
from toolkit.cuts import KEPT_BEYOND, MIN_INTERACTIONS
from toolkit.errors import UserError
from toolkit.measures import gini
from toolkit.store import Table

CHUNK_ROWS = 2_000_000
MAX_LEN = 10  # L of the paper's protocol
# Timestamps outside 1990-01-01 .. 2035-01-01 probably have another unit.
PLAUSIBLE_MS = (631_152_000_000, 2_051_222_400_000)

Ints = NDArray[np.int64]


def describe_interactions(data: Dataset, *, chunk_rows: int = CHUNK_ROWS) -> dict[str, Any]:
    """Counts, sequence lengths, popularity, timestamps, repetitions, and the data that the splits will use.

    Args:
        data: the dataset.
        chunk_rows: minimum number of rows per chunk; a user is never divided.

    Raises:
        UserError: if the table is missing or broken.
    """
    table, tally = Table(data.path / "interactions"), _Tally(data.items)
    for chunk in whole_users(table.batches(schema.INTERACTIONS.names), chunk_rows):
        tally.add(chunk)
    return tally.facts(data.items.column("item_id"))


def whole_users(batches: Iterable[pa.RecordBatch], rows: int) -> Iterator[pa.Table]:
    """Yields the interactions in order in chunks of at least `rows` (except the last) with complete users."""
    waiting: list[pa.Table] = []
    for batch in batches:
        waiting.append(pa.Table.from_batches([batch]))
        if sum(table.num_rows for table in waiting) < rows:
            continue
        table = pa.concat_tables(waiting)
        user = table.column("user").to_numpy()
        last = int(np.searchsorted(user, user[-1]))
        if last:
            yield table.slice(0, last)
        waiting = [table.slice(last)]
    if sum(table.num_rows for table in waiting):
        yield pa.concat_tables(waiting)


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

    def add(self, chunk: pa.Table) -> None:
        """Counts the interactions of further users, whose rows must be complete."""
        chunk = chunk.combine_chunks()
        user, item = (chunk.column(name).to_numpy() for name in ("user", "item"))
        if item.min() < 1 or item.max() >= len(self.popularity):
            raise UserError(
                f"interactions: items {item.min()}..{item.max()} are not all in "
                f"1..{len(self.popularity) - 1}; run prep check for details"
            )
        starts = np.flatnonzero(np.diff(user, prepend=-1))
        stops = np.append(starts[1:], len(user))
        self._add_lengths(item, starts, stops)
        self.popularity += np.bincount(item, minlength=len(self.popularity))
        self._add_times(chunk.column("timestamp_ms"))
        self.order.add(user, item, chunk.column("timestamp_ms"))
        self._add_repetitions(chunk, user, item)

    def _add_lengths(self, item: NDArray[np.int32], starts: Ints, stops: Ints) -> None:
        lengths = stops - starts
        new = np.bincount(lengths)
        size = max(len(new), len(self.lengths))
        grown = [np.pad(counts, (0, size - len(counts))) for counts in (self.lengths, new)]
        self.lengths = grown[0] + grown[1]
        length = np.repeat(lengths, lengths)
        to_end = np.repeat(stops, lengths) - np.arange(len(item))  # 1 is a user's last
        self.kept[item[(length >= MIN_INTERACTIONS) & (to_end <= MAX_LEN + KEPT_BEYOND)]] = True

    def _add_times(self, column: pa.ChunkedArray) -> None:
        self.null_times += column.null_count
        times = column.drop_null().to_numpy()
        if len(times) == 0:
            return
        first, last = int(times.min()), int(times.max())
        self.first_ms = first if self.first_ms is None else min(first, self.first_ms)
        self.last_ms = last if self.last_ms is None else max(last, self.last_ms)
        earliest, end = PLAUSIBLE_MS
        self.implausible_times += int(np.count_nonzero((times < earliest) | (times >= end)))

    def _add_repetitions(
        self, chunk: pa.Table, user: NDArray[np.int32], item: NDArray[np.int32]
    ) -> None:
        column = chunk.column("timestamp_ms")
        dated = column.is_valid().to_numpy()
        time = pc.fill_null(column, 0).to_numpy()
        # By user, then item, then time, undated last.
        order = np.lexsort((time, ~dated, item, user))
        same_item = agree(user, order) & agree(item, order)
        self.repeated.add(chunk, order, same_item)
        both_dated = dated[order][1:] & dated[order][:-1]
        self.identical.add(chunk, order, same_item & both_dated & agree(time, order))
        # Ingest sorts by time only if every row has a time.
        order = np.flatnonzero(dated)
        order = order[np.lexsort((time[order], user[order]))]
        self.simultaneous.add(chunk, order, agree(user, order) & agree(time, order))

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
