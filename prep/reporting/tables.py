"""SQL over a dataset's tables, with bounded memory."""

import contextlib
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeAlias

import duckdb

Connection: TypeAlias = duckdb.DuckDBPyConnection

MEMORY = "1GB"


@contextlib.contextmanager
def database(dataset: Path) -> Iterator[Connection]:
    """A DuckDB in memory that spills into a folder inside the dataset, which goes with it."""
    with (
        tempfile.TemporaryDirectory(prefix=".report-", suffix=".tmp", dir=dataset) as spill,
        duckdb.connect(config={"memory_limit": MEMORY, "temp_directory": spill}) as connection,
    ):
        yield connection


def rows(
    connection: Connection, sql: str, parameters: dict[str, Any] | None = None
) -> list[dict[str, Any]]:
    """The result of a query, one dict a row."""
    result = connection.execute(sql, parameters)
    names = [column[0] for column in result.description or []]
    return [dict(zip(names, row, strict=True)) for row in result.fetchall()]
