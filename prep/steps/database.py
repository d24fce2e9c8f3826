"""DuckDB for tables that may be larger than memory: it spills to disk and removes its files at the end."""

import contextlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import pyarrow as pa

from prep.steps.writing import clear_scratch
from toolkit.errors import UserError

if TYPE_CHECKING:  # each function imports it, so that decoding processes do not
    import duckdb

Connection: TypeAlias = "duckdb.DuckDBPyConnection"


@contextlib.contextmanager
def engine(folder: Path, *, memory_gib: float) -> Iterator[Connection]:
    """A temporary database for the duration of the `with` block.

    Args:
        folder: folder for its files, deleted before and afterwards; the caller must hold the lock of the step.
        memory_gib: memory limit of DuckDB; the rest of the process needs additional memory.

    Raises:
        UserError: if memory or disk space is insufficient.
    """
    import duckdb

    # If the disk is full at the end of a transaction, DuckDB reports a failed transaction and closes the database.
    no_space = (
        duckdb.IOException,
        duckdb.OutOfMemoryException,
        duckdb.TransactionException,
        duckdb.FatalException,
    )
    clear_scratch(folder)
    folder.mkdir(parents=True)
    try:
        with contextlib.closing(_connect(folder, memory_gib)) as connection:
            yield connection
    except no_space as error:
        raise UserError(
            f"{folder}: sorting needs more space ({str(error).splitlines()[0]}); free space on this disk, or raise "
            "the memory limit (--memory_gib), and run the same command again"
        ) from None
    finally:
        clear_scratch(folder)


def _connect(folder: Path, memory_gib: float) -> Connection:
    import duckdb

    settings: dict[str, str | bool | int | float | list[str]] = {
        "memory_limit": f"{int(memory_gib * 1024)}MiB",
        "temp_directory": str(folder),
        "preserve_insertion_order": False,  # rows have a number where order matters
    }
    connection = duckdb.connect(str(folder / "log.duckdb"), config=settings)
    connection.execute("SET enable_progress_bar = false")  # it would mix with our own output
    connection.execute("PRAGMA disable_checkpoint_on_shutdown")  # the files are deleted
    return connection


def attach(connection: Connection, name: str) -> None:
    """Adds an empty database in a file of its own: a file of DuckDB never becomes smaller, but `detach` removes this one.

    Args:
        connection: connection of `engine`.
        name: name of the database; its tables are `name.table`.
    """
    quoted = _file_of(connection, name).replace("'", "''")
    run(connection, f"ATTACH '{quoted}' AS {name}")


def detach(connection: Connection, name: str) -> None:
    """Removes a database of `attach` and its file."""
    run(connection, f"DETACH {name}")
    file = Path(_file_of(connection, name))
    for path in (file, file.with_name(f"{file.name}.wal")):
        path.unlink(missing_ok=True)


def _file_of(connection: Connection, name: str) -> str:
    ((folder,),) = rows(connection, "SELECT current_setting('temp_directory')")
    return f"{folder}/{name}.duckdb"


def create(
    connection: Connection, table: str, query: str, **inputs: Iterable[pa.RecordBatch]
) -> None:
    """Runs `CREATE TABLE table AS query` with inputs that are streamed as batches.

    Args:
        connection: connection of `engine`.
        table: name of the table.
        query: SQL query.
        inputs: batches by the names in the query; each input has at least one batch.

    Raises:
        Exception: the original exception if producing a batch fails.
    """
    import duckdb

    relays = {name: _Relay(batches) for name, batches in inputs.items()}
    for name, relay in relays.items():
        connection.register(name, relay.reader())
    try:
        with joins_as_written(connection):
            connection.execute(f"CREATE TABLE {table} AS {query}")
    except duckdb.Error:
        for relay in relays.values():
            if relay.error is not None:
                raise relay.error from None
        raise
    finally:
        for name in relays:
            connection.unregister(name)


@contextlib.contextmanager
def joins_as_written(connection: Connection) -> Iterator[None]:
    """Joins within the `with` block read their left side as it comes, and hold their right side as a hash table.

    DuckDB does not know how many rows a stream has, or how many fulfil a condition on a hash: it takes them for few, and
    would hold them instead of the other side.

    Args:
        connection: connection of `engine`.
    """
    run(connection, "SET disabled_optimizers = 'join_order,build_side_probe_side'")
    try:
        yield
    finally:
        run(connection, "RESET disabled_optimizers")


def run(connection: Connection, statement: str) -> None:
    """Runs a statement without a result."""
    connection.execute(statement).fetchall()  # an unfetched result blocks the connection


def rows(connection: Connection, query: str) -> Iterator[tuple[Any, ...]]:
    """Yields the rows of a query as Python tuples, fetched in blocks."""
    for batch in batches(connection, query):
        yield from zip(*(column.to_pylist() for column in batch.columns), strict=True)


def batches(connection: Connection, query: str) -> Iterator[pa.RecordBatch]:
    """Yields the rows of a query as Arrow batches, fetched on demand."""
    # A separate cursor, because a connection can have only one unfinished result.
    with connection.cursor() as cursor:
        yield from cursor.sql(query).to_arrow_reader(_BATCH_ROWS)


_BATCH_ROWS = 122_880


class _Relay:
    """Passes batches to DuckDB and keeps the original exception, whose type DuckDB loses."""

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
