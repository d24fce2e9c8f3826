"""Covers: the image of each item as a JPEG, upright and scaled down."""

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
    """One row per item of the batch (`STORED` and `message`).

    Args:
        batch: with the column item_id.
        dump: folder of the dump.
        folder: folder of the covers.
        cover_px: shorter side of a stored cover, in pixels.
        limit_seconds: time limit per cover, which is decoded in a process that is killed after it. None decodes in
            this process, without a limit.
    """
    media = as_media_folder(dump, folder, PICTURES)
    read = watched(cover_of, limit_seconds)
    ids = batch.column("item_id").to_pylist()
    return pa.Table.from_pylist([_row(read, id_, media, cover_px) for id_ in ids], schema=SCHEMA)


def _row(read: ReadsFile, item_id: str, folder: MediaFolder, cover_px: int) -> dict[str, Any]:
    row: dict[str, Any] = {"item_id": item_id}
    try:
        path = folder.locate(item_id)
        row |= fingerprint(path)
        return row | read(path, cover_px=cover_px)
    except ItemProblem as problem:
        return {**row, "status": problem.status, "message": problem.message}


def cover_of(path: Path, cover_px: int) -> dict[str, Any]:
    """The columns of a cover's row that depend on its content.

    Raises:
        ItemProblem: if the file is not a readable picture.
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
