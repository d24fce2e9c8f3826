"""SQL over a dataset's tables, with bounded memory."""

from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from prep.steps.database import Connection, engine

SCRATCH = ".report.tmp"
MEMORY_GIB = 1.0


def database(dataset: Path) -> AbstractContextManager[Connection]:
    """An empty temporary database with its files in a folder of the dataset."""
    return engine(dataset / SCRATCH, memory_gib=MEMORY_GIB)


def records(
    connection: Connection, query: str, parameters: dict[str, Any] | None = None
) -> list[dict[str, Any]]:
    """The rows of a query with a small result, as dicts."""
    return list(connection.sql(query, params=parameters).to_arrow_table().to_pylist())
