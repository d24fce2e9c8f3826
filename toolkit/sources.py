"""What a tower's encoder reads: a field of an item, or several texts joined into one."""

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any, Protocol

import pyarrow as pa
import pyarrow.compute as pc

from toolkit.errors import UserError
from toolkit.towers import PICTURES, source_fields

JOINT = "\n"  # between joined texts: white space to some tokenizers, a break to others


class Fields(Protocol):
    """What a source is read from: a dataset's tables (`toolkit.dataset.Dataset`)."""

    path: Path
    manifest: dict[str, Any]

    @property
    def items(self) -> pa.Table:
        """`item_id`, `title`."""
        ...

    @property
    def covers(self) -> pa.Table:
        """`item_id`, `image`."""
        ...

    @property
    def frames(self) -> pa.Table:
        """`item_id`, `frames`."""
        ...

    def captions(self, name: str) -> pa.Table:
        """`item_id`, `text`, `status` of the captions of a name."""
        ...

    def caption_names(self) -> list[str]:
        """Of all captions."""
        ...


def read_source(data: Fields, source: str, item_ids: Sequence[str]) -> pa.Array:
    """One value for each item, null where it has none.

    Args:
        data: where the fields are.
        source: `title` or the name of captions (strings); `cover` (JPEG bytes); `frames` (lists of JPEG
            bytes); `concat:A+B` joins the texts that an item has, in that order, with a line break.
        item_ids: of which items, in which order.

    Raises:
        UserError: if a field is not there, or is no text and to be joined.
    """
    refuse_unknown(source, data.caption_names())
    fields = [_read_field(data, field, item_ids) for field in source_fields(source)]
    if len(fields) == 1:
        return fields[0]
    rows = zip(*(field.to_pylist() for field in fields), strict=True)
    return pa.array([JOINT.join(filter(None, row)) or None for row in rows], pa.string())


def refuse_unknown(source: str, captions: Collection[str]) -> None:
    """Refuses a source that names a field which no item has.

    Args:
        source: of a tower.
        captions: names of those that there are, or will be.

    Raises:
        UserError: naming the field and those that there are.
    """
    known = ["title", *PICTURES, *captions]
    for field in source_fields(source):
        if field not in known:
            raise UserError(
                f"source {field!r} is unknown; there are {', '.join(known)} "
                f"(captions of that name are made with --caption.{field}.model MODEL)"
            )


def captions_of(source: str) -> list[str]:
    """Names of the captions that a source reads.

    >>> captions_of("concat:title+image_caption")
    ['image_caption']
    """
    return [field for field in source_fields(source) if field not in ("title", *PICTURES)]


def captions_behind(data: Fields, source: str) -> str:
    """The captions that a source reads, each with the fingerprint of what it was made with; none is "".

    Raises:
        UserError: if some are not finished.
    """
    steps = data.manifest["steps"]
    for name in captions_of(source):
        if f"caption:{name}" not in steps:
            raise UserError(
                f"{data.path}: captions {name!r} are not finished; run prep caption first"
            )
    made_with = {name: steps[f"caption:{name}"]["config_hash"] for name in captions_of(source)}
    return ", ".join(f"{name} {fingerprint}" for name, fingerprint in made_with.items())


def _read_field(data: Fields, field: str, item_ids: Sequence[str]) -> pa.Array:
    table, column = _place_of(data, field)
    rows = pc.index_in(pa.array(item_ids, pa.string()), table.column("item_id")).to_pylist()
    values = _take(table.column(column), rows)
    if field == "title":
        values = [text if text and text.strip() else None for text in values]
    elif field not in PICTURES:
        told = zip(values, _take(table.column("status"), rows), strict=True)
        values = [text if status == "ok" else None for text, status in told]
    return pa.array(values, table.schema.field(column).type)


def _place_of(data: Fields, field: str) -> tuple[pa.Table, str]:
    """The table of a field and the column in it."""
    if field == "title":
        return data.items, "title"
    if field == "cover":
        return data.covers, "image"
    return (data.frames, "frames") if field == "frames" else (data.captions(field), "text")


def _take(column: pa.ChunkedArray, rows: Sequence[int | None]) -> list[Any]:
    """One by one: a take over gigabytes of mapped shards would first join them in memory."""
    return [None if row is None else column[row].as_py() for row in rows]
