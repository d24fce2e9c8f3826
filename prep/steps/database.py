"""DuckDB, for tables that may be larger than memory: it spills to disk, and leaves nothing behind."""

import contextlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, TypeAlias

import duckdb
import pyarrow as pa

from prep.steps.writing import clear_scratch
from toolkit.errors import UserError

Connection: TypeAlias = duckdb.DuckDBPyConnection


@contextlib.contextmanager
def engine(folder: Path, *, memory_gib: float) -> Iterator[Connection]:
    """A database of its own, gone with the `with` block.

    Args:
        folder: for its files, deleted before and afterwards; the caller holds the lock of whoever uses it.
        memory_gib: what DuckDB may hold in memory; the rest of the process comes on top.

    Raises:
        UserError: if memory and disk do not suffice, at the beginning, in between or at the end.
    """
    clear_scratch(folder)
    folder.mkdir(parents=True)
    try:
        with contextlib.closing(_connect(folder, memory_gib)) as connection:
            yield connection
    except _NO_ROOM as error:
        raise UserError(
            f"{folder}: sorting needs more room ({str(error).splitlines()[0]}); make room on this disk, or let it "
            "hold more in memory (--memory_gib), and run the same command again"
        ) from None
    finally:
        clear_scratch(folder)


# A disk that fills up while a transaction ends is told as the transaction's failure, and the database is closed by it.
_NO_ROOM = (
    duckdb.IOException,
    duckdb.OutOfMemoryException,
    duckdb.TransactionException,
    duckdb.FatalException,
)


def _connect(folder: Path, memory_gib: float) -> Connection:
    settings: dict[str, str | bool | int | float | list[str]] = {
        "memory_limit": f"{int(memory_gib * 1024)}MiB",
        "temp_directory": str(folder),
        "preserve_insertion_order": False,  # rows carry their number where order matters
    }
    connection = duckdb.connect(str(folder / "log.duckdb"), config=settings)
    connection.execute("SET enable_progress_bar = false")  # it would write between our own lines
    return connection


def create(
    connection: Connection, table: str, query: str, **inputs: Iterable[pa.RecordBatch]
) -> None:
    """`CREATE TABLE table AS query`, the query reading batches that are made as it goes.

    Args:
        connection: of `engine`.
        table: its name.
        query: SQL.
        inputs: by the names that the query uses; each has at least one batch.

    Raises:
        Exception: what making a batch raises, as it was raised.
    """
    relays = {name: _Relay(batches) for name, batches in inputs.items()}
    for name, relay in relays.items():
        connection.register(name, relay.reader())
    try:
        connection.execute(f"CREATE TABLE {table} AS {query}")
    except duckdb.Error:
        for relay in relays.values():
            if relay.error is not None:
                raise relay.error from None
        raise
    finally:
        for name in relays:
            connection.unregister(name)


def rows(connection: Connection, query: str) -> Iterator[tuple[Any, ...]]:
    """The rows of a query as Python tuples, a block at a time."""
    for batch in batches(connection, query):
        yield from zip(*(column.to_pylist() for column in batch.columns), strict=True)


def batches(connection: Connection, query: str) -> Iterator[pa.RecordBatch]:
    """The rows of a query as Arrow batches, which are made as they are asked for."""
    # A cursor of its own: a connection has one unfinished result at most.
    with connection.cursor() as cursor:
        yield from cursor.sql(query).to_arrow_reader(_BATCH_ROWS)


_BATCH_ROWS = 122_880


class _Relay:
    """Batches on their way into DuckDB, which forgets the type of an error on the way back."""

    def __init__(self, batches: Iterable[pa.RecordBatch]) -> None:
        self.error: Exception | None = None
        self._batches = iter(batches)

    def reader(self) -> pa.RecordBatchReader:
        first = next(self._batches)
        return pa.RecordBatchReader.from_batches(first.schema, self._all(first))

    def _all(self, first: pa.RecordBatch) -> Iterator[pa.RecordBatch]:
        try:
            yield first
            yield from self._batches
        except Exception as error:
            self.error = error
            raise
