"""Covers: each item's image, upright, smaller, as JPEG."""

from pathlib import Path
from typing import Any

import pyarrow as pa

from prep.files import locate
from prep.images import read_image, shrink, to_jpeg
from prep.problems import ItemProblem
from prep.sniff import refuse_other
from prep.source import fingerprint
from toolkit import schema

SUFFIX = ".jpg"
SCHEMA = schema.COVERS.append(pa.field("message", pa.string()))


def make_covers(batch: pa.RecordBatch, *, dump: Path, folder: Path, cover_px: int) -> pa.Table:
    """A row for each item of the batch (`toolkit.schema.COVERS` and `message`).

    Args:
        batch: with the column item_id.
        dump: the dump's folder.
        folder: where the covers lie.
        cover_px: shorter side of what is stored, in pixels.
    """
    ids = batch.column("item_id").to_pylist()
    return pa.Table.from_pylist([_row(id_, dump, folder, cover_px) for id_ in ids], schema=SCHEMA)


def _row(item_id: str, dump: Path, folder: Path, cover_px: int) -> dict[str, Any]:
    row: dict[str, Any] = {"item_id": item_id}
    try:
        path = locate(dump, folder, item_id, SUFFIX)
        row |= fingerprint(path)
        refuse_other(path, "image")
        image = shrink(read_image(path), cover_px)
    except ItemProblem as problem:
        return {**row, "status": problem.status, "message": problem.message}
    height_px, width_px = image.shape[:2]
    return {
        **row,
        "image": to_jpeg(image),
        "width_px": width_px,
        "height_px": height_px,
        "status": "ok",
    }
