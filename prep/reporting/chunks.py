"""Passes over the interactions of complete users, a few million rows at a time.

The table is sorted by user, so no operation needs more than one chunk: memory is independent of the length of the table.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from prep.reporting.measures import Ints
from toolkit import Dataset, schema
from toolkit.errors import UserError
from toolkit.store import Table

CHUNK_ROWS = 2_000_000
NUMBERS = ("user", "item", "timestamp_ms")  # columns of a pass that lists nothing
ALL = tuple(schema.INTERACTIONS.names)


class Chunk(NamedTuple):
    """Interactions of U complete users, R rows in the dataset's order.

    Args:
        table: the columns that were read.
        user: (R,) user numbers.
        item: (R,) item numbers.
        time: (R,) milliseconds since 1970; 0 where missing.
        dated: (R,) whether an interaction has a time.
        starts: (U,) first row of each user.
        stops: (U,) one past the last row.
    """

    table: pa.Table
    user: NDArray[np.int32]
    item: NDArray[np.int32]
    time: Ints
    dated: NDArray[np.bool_]
    starts: Ints
    stops: Ints

    @property
    def lengths(self) -> Ints:
        """(U,) interactions of each user."""
        return self.stops - self.starts

    def rows_of(self, users: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """(R,) whether a row belongs to one of the users, (U,)."""
        return np.repeat(users, self.lengths)


class Counter(Protocol):
    """Counts something in one pass."""

    def add(self, chunk: Chunk) -> None:
        """Counts the interactions of further users."""


def walk(
    data: Dataset,
    counters: Sequence[Counter],
    *,
    columns: Sequence[str] = NUMBERS,
    rows: int = CHUNK_ROWS,
) -> None:
    """Shows every chunk of a dataset to each counter, in one pass.

    Args:
        data: the dataset.
        counters: what to count.
        columns: columns to read, `NUMBERS` among them.
        rows: minimum number of rows per chunk; a user is never divided.

    Raises:
        UserError: if the table is missing or broken.
    """
    for chunk in chunks(data, columns=columns, rows=rows):
        for counter in counters:
            counter.add(chunk)


def chunks(
    data: Dataset, *, columns: Sequence[str] = NUMBERS, rows: int = CHUNK_ROWS
) -> Iterator[Chunk]:
    """Yields the interactions of a dataset in chunks of complete users. Arguments and errors are those of `walk`."""
    batches = Table(data.path / "interactions").batches(list(columns))
    for table in whole_users(batches, rows):
        yield chunk_of(table, items=data.items.num_rows)


def chunk_of(table: pa.Table, *, items: int) -> Chunk:
    """Interactions of complete users as arrays.

    Args:
        table: rows of `toolkit.schema.INTERACTIONS`.
        items: N, number of items.

    Raises:
        UserError: if an item number is not in 1..N.
    """
    table = table.combine_chunks()
    user, item = (table.column(name).to_numpy() for name in ("user", "item"))
    if item.min() < 1 or item.max() > items:
        raise UserError(
            f"interactions: items {item.min()}..{item.max()} are not all in 1..{items}; run prep check for details"
        )
    column = table.column("timestamp_ms")
    starts = np.flatnonzero(np.diff(user, prepend=-1))
    return Chunk(
        table,
        user,
        item,
        pc.fill_null(column, 0).to_numpy(),
        column.is_valid().to_numpy(),
        starts,
        np.append(starts[1:], len(user)),
    )


def in_time_order(chunk: Chunk) -> Ints:
    """The rows of a chunk by user, then time, those without a time last; equal ones in the order of the dataset."""
    if chunk.dated.all() and not ((np.diff(chunk.time) < 0) & (np.diff(chunk.user) == 0)).any():
        return np.arange(len(chunk.user))  # ingest has sorted them, because every row has a time
    return np.lexsort((chunk.time, ~chunk.dated, chunk.user))


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
