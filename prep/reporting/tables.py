"""SQL over a dataset's tables, with bounded memory."""

from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from prep.steps.database import Connection, engine

SCRATCH = ".report.tmp"
MEMORY_GIB = 1.0


def database(dataset: Path) -> AbstractContextManager[Connection]:
    """An empty database whose files are in a folder of the dataset, and gone afterwards."""
    return engine(dataset / SCRATCH, memory_gib=MEMORY_GIB)


def records(
    connection: Connection, query: str, parameters: dict[str, Any] | None = None
) -> list[dict[str, Any]]:
    """The rows of a query whose result is small, one dict each."""
    return list(connection.sql(query, params=parameters).to_arrow_table().to_pylist())
