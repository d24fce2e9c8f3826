"""What a tower's encoder reads: a field of an item, or several texts joined into one."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc

from toolkit.errors import UserError
from toolkit.towers import PICTURES, source_fields

if TYPE_CHECKING:
    from toolkit.dataset import Dataset

JOINT = "\n"  # between joined texts: white space to some tokenizers, a break to others


def read_source(data: "Dataset", source: str, item_ids: Sequence[str]) -> pa.Array:
    """One value for each item, null where it has none.

    Args:
        data: where the fields are.
        source: `title` or the name of captions (strings); `cover` (JPEG bytes); `frames` (lists of JPEG
            bytes); `concat:A+B` joins the texts that an item has, in that order, with a line break.
        item_ids: of which items, in which order.

    Raises:
        UserError: if a field is not there, or is no text and to be joined.
    """
    fields = [_read_field(data, field, item_ids) for field in source_fields(source)]
    if len(fields) == 1:
        return fields[0]
    rows = zip(*(field.to_pylist() for field in fields), strict=True)
    return pa.array([JOINT.join(filter(None, row)) or None for row in rows], pa.string())


def known_fields(data: "Dataset") -> list[str]:
    """Every field that a source may name in this dataset."""
    return ["title", *PICTURES, *data.caption_names()]


def _read_field(data: "Dataset", field: str, item_ids: Sequence[str]) -> pa.Array:
    table, payload = _column(data, field)
    places = pc.index_in(pa.array(item_ids, pa.string()), table.column("item_id")).to_pylist()
    # One by one: a take over gigabytes of mapped shards would first join them in memory.
    return pa.array([None if i is None else payload[i].as_py() for i in places], payload.type)


def _column(data: "Dataset", field: str) -> tuple[pa.Table, pa.ChunkedArray]:
    """The table of a field and its usable values."""
    if field == "title":
        titles = data.items.column("title")
        blank = pc.equal(pc.utf8_trim_whitespace(titles), "")
        return data.items, pc.if_else(blank, None, titles)
    if field == "cover":
        return data.covers, data.covers.column("image")
    if field == "frames":
        return data.frames, data.frames.column("frames")
    if field not in data.caption_names():
        raise UserError(
            f"source {field!r} is unknown: {data.path} has {', '.join(known_fields(data))}; "
            "captions come from prep caption"
        )
    captions = data.captions(field)
    usable = pc.equal(captions.column("status"), "ok")
    return captions, pc.if_else(usable, captions.column("text"), None)
