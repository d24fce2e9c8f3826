"""Covers: each item's image, upright, smaller, as JPEG."""

from pathlib import Path
from typing import Any

import pyarrow as pa

from prep.pictures.pixels import ON_WHITE, read_picture, shrink, to_jpeg
from prep.pictures.source import fingerprint
from prep.pictures.watchdog import ReadsFile, watched
from prep.readers.media_folder import PICTURES, MediaFolder, as_media_folder
from prep.steps.problems import ItemProblem
from toolkit import schema

STORED = schema.COVERS.append(pa.field("note", pa.string()))
SCHEMA = STORED.append(pa.field("message", pa.string()))


def make_covers(
    batch: pa.RecordBatch,
    *,
    dump: Path,
    folder: Path | MediaFolder,
    cover_px: int,
    limit_seconds: float | None = None,
) -> pa.Table:
    """A row for each item of the batch (`STORED` and `message`).

    Args:
        batch: with the column item_id.
        dump: the dump's folder.
        folder: where the covers lie.
        cover_px: shorter side of what is stored, in pixels.
        limit_seconds: time limit of one cover; it is decoded in a process that is killed beyond it. None
            decodes in this process, without a limit.
    """
    place = as_media_folder(dump, folder, PICTURES)
    read = watched(cover_of, limit_seconds)
    ids = batch.column("item_id").to_pylist()
    return pa.Table.from_pylist([_row(read, id_, place, cover_px) for id_ in ids], schema=SCHEMA)


def _row(read: ReadsFile, item_id: str, folder: MediaFolder, cover_px: int) -> dict[str, Any]:
    row: dict[str, Any] = {"item_id": item_id}
    try:
        path = folder.locate(item_id)
        row |= fingerprint(path)
        return row | read(path, cover_px=cover_px)
    except ItemProblem as problem:
        return {**row, "status": problem.status, "message": problem.message}


def cover_of(path: Path, cover_px: int) -> dict[str, Any]:
    """The columns of one cover's row that come from its content.

    Raises:
        ItemProblem: if it is no picture that can be read.
    """
    picture = read_picture(path)
    image = shrink(picture.pixels, cover_px)
    height_px, width_px = image.shape[:2]
    return {
        "image": to_jpeg(image),
        "width_px": width_px,
        "height_px": height_px,
        "note": ON_WHITE if picture.on_white else None,
        "status": "ok",
    }
