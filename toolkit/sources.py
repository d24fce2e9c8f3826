"""Sources, the inputs of a tower's encoder: a field of an item, or several texts joined into one.

N items, numbered 1..N; 0 is padding. U items of a batch.
"""

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from toolkit.errors import UserError
from toolkit.towers import PICTURES, source_fields

JOINT = "\n"  # separator of joined texts; tokenizers treat it as white space or as a line break
Numbers = Sequence[int] | NDArray[np.integer[Any]]


class Fields(Protocol):
    """The tables with the sources (`toolkit.dataset.Dataset`)."""

    path: Path
    manifest: dict[str, Any]

    @property
    def items(self) -> pa.Table:
        """Columns `item_id` and `title`; row r is item r + 1."""
        ...

    @property
    def covers(self) -> pa.Table:
        """Columns `item_id` and `image`, in any order."""
        ...

    @property
    def frames(self) -> pa.Table:
        """Columns `item_id` and `frames`, in any order."""
        ...

    def captions(self, name: str) -> pa.Table:
        """Columns `item_id`, `text` and `status` of the captions with a name, in any order."""
        ...

    def caption_names(self) -> list[str]:
        """Names of the stored captions."""
        ...


class SourceReader:
    """Reads one source by item number. The index from items to rows is computed once, in the constructor.

    Args:
        data: the tables with the source.
        source: `title` or the name of captions (strings); `cover` (JPEG bytes); `frames` (lists of JPEG bytes);
            `concat:A+B` joins the available texts of an item in this order with a line break.

    Raises:
        UserError: if a field is unknown or not stored, or if a joined field is not text.
    """

    def __init__(self, data: Fields, source: str) -> None:
        refuse_unknown(source, data.caption_names())
        self.source = source
        self._fields = [_FieldReader(data, field) for field in source_fields(source)]

    def __repr__(self) -> str:
        return f"SourceReader({self.source!r})"

    def read(self, items: Numbers) -> pa.Array:
        """One value per item; null if the item has none.

        Args:
            items: (U,) item numbers 1..N, in any order; 0 reads as null.

        Raises:
            ValueError: if a number is outside 0..N.
        """
        columns = [field.read(np.asarray(items, np.int64)) for field in self._fields]
        if len(columns) == 1:
            return columns[0]
        rows = zip(*(column.to_pylist() for column in columns), strict=True)
        return pa.array([JOINT.join(filter(None, row)) or None for row in rows], pa.string())


class _FieldReader:
    """Reads one field by item number. Blank titles and captions with a status other than `ok` are null."""

    def __init__(self, data: Fields, field: str) -> None:
        table, column = _table_of(data, field)
        self._drops_blank = field == "title"
        if field == "title":  # without a search: row r of `items` is item r + 1
            self._rows = np.arange(-1, table.num_rows)
        else:
            self._rows = rows_by_item(data.items, table)
        self._values = table.column(column)
        self._status = None if field in ("title", *PICTURES) else table.column("status")

    def read(self, items: NDArray[np.int64]) -> pa.Array:
        """One value per item, (U,)."""
        last = len(self._rows) - 1
        outside = items[(items < 0) | (items > last)]
        if len(outside):
            raise ValueError(f"item number {outside[0]} is outside 0..{last}")
        rows = self._rows[items].tolist()
        values = _take(self._values, rows)
        if self._drops_blank:
            values = [text if text and text.strip() else None for text in values]
        if self._status is not None:
            pairs = zip(values, _take(self._status, rows), strict=True)
            values = [text if status == "ok" else None for text, status in pairs]
        return pa.array(values, self._values.type)


def rows_by_item(items: pa.Table, table: pa.Table) -> NDArray[np.int64]:
    """The row index of each item in a table with items in any order.

    Args:
        items: table with `item_id`; row r is item r + 1.
        table: table with `item_id`; for a repeated id, the first row counts.

    Returns:
        (N + 1,) row indices by item number; -1 for an item without a row, and for item 0 (padding).
    """
    rows = pc.index_in(items.column("item_id"), value_set=table.column("item_id"))
    return np.append(-1, rows.fill_null(-1).to_numpy()).astype(np.int64)


def refuse_unknown(source: str, captions: Collection[str]) -> None:
    """Refuses a source with an unknown field.

    Args:
        source: source of a tower.
        captions: names of stored or configured captions.

    Raises:
        UserError: if a field is unknown; the message lists the known ones.
    """
    known = ["title", *PICTURES, *captions]
    for field in source_fields(source):
        if field not in known:
            raise UserError(
                f"source {field!r} is unknown; known: {', '.join(known)}; to create captions with that name, pass "
                f"--caption.{field}.model MODEL"
            )


def captions_of(source: str) -> list[str]:
    """Names of the captions that a source reads.

    >>> captions_of("concat:title+image_caption")
    ['image_caption']
    """
    return [field for field in source_fields(source) if field not in ("title", *PICTURES)]


def captions_behind(data: Fields, source: str) -> str:
    """The captions that a source reads, each with the hash of its configuration; "" if it reads none.

    Raises:
        UserError: if the caption step of one of them is not finished.
    """
    steps = data.manifest["steps"]
    for name in captions_of(source):
        if f"caption:{name}" not in steps:
            raise UserError(
                f"{data.path}: captions {name!r} are not finished; run prep caption first"
            )
    hashes = {name: steps[f"caption:{name}"]["config_hash"] for name in captions_of(source)}
    return ", ".join(f"{name} {config_hash}" for name, config_hash in hashes.items())


def _table_of(data: Fields, field: str) -> tuple[pa.Table, str]:
    """The table with a field, and the name of its column."""
    if field == "title":
        return data.items, "title"
    if field == "cover":
        return data.covers, "image"
    return (data.frames, "frames") if field == "frames" else (data.captions(field), "text")


def _take(column: pa.ChunkedArray, rows: Sequence[int]) -> list[Any]:
    """Values by row index, None for -1. Reads row by row, because `take` would copy all mapped shards into memory."""
    return [None if row < 0 else column[row].as_py() for row in rows]
