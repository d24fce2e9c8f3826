"""Covers: each item's image, upright, smaller, as JPEG."""

from pathlib import Path
from typing import Any

import pyarrow as pa

from prep.files import locate
from prep.images import read_image, shrink, to_jpeg
from prep.problems import ItemProblem
from prep.sniff import refuse_other
from prep.source import fingerprint
from prep.watchdog import ReadsFile, watched
from toolkit import schema

SUFFIX = ".jpg"
SCHEMA = schema.COVERS.append(pa.field("message", pa.string()))


def make_covers(
    batch: pa.RecordBatch,
    *,
    dump: Path,
    folder: Path,
    cover_px: int,
    limit_seconds: float | None = None,
) -> pa.Table:
    """A row for each item of the batch (`toolkit.schema.COVERS` and `message`).

    Args:
        batch: with the column item_id.
        dump: the dump's folder.
        folder: where the covers lie.
        cover_px: shorter side of what is stored, in pixels.
        limit_seconds: time limit of one cover; it is decoded in a process that is killed beyond it. None
            decodes in this process, without a limit.
    """
    read = watched(cover_of, limit_seconds)
    ids = batch.column("item_id").to_pylist()
    rows = [_row(read, id_, dump, folder, cover_px) for id_ in ids]
    return pa.Table.from_pylist(rows, schema=SCHEMA)


def _row(read: ReadsFile, item_id: str, dump: Path, folder: Path, cover_px: int) -> dict[str, Any]:
    row: dict[str, Any] = {"item_id": item_id}
    try:
        path = locate(dump, folder, item_id, SUFFIX)
        row |= fingerprint(path)
        return row | read(path, cover_px=cover_px)
    except ItemProblem as problem:
        return {**row, "status": problem.status, "message": problem.message}


def cover_of(path: Path, cover_px: int) -> dict[str, Any]:
    """The columns of one cover's row that come from its content.

    Raises:
        ItemProblem: if it is no picture that can be read.
    """
    refuse_other(path, "image")
    image = shrink(read_image(path), cover_px)
    height_px, width_px = image.shape[:2]
    return {
        "image": to_jpeg(image),
        "width_px": width_px,
        "height_px": height_px,
        "status": "ok",
    }
