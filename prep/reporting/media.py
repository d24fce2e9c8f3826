"""Facts about covers and clips: sizes, frame rates, durations and identical files.

Nothing is decoded. Equal files have equal `source_sha256`; rows without a digest are compared by their stored JPEG
bytes.
"""

import hashlib
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from prep.reporting.measures import spread
from prep.reporting.tables import records
from prep.steps.database import Connection
from toolkit import Dataset
from toolkit.store import Table

DIGEST = "source_sha256"
COMMON_SIZES = 10


def describe_covers(data: Dataset, connection: Connection) -> dict[str, Any] | None:
    """Sizes of the stored covers in pixels; None without covers."""
    if not Table(data.path / "covers").exists():
        return None
    connection.register("sizes", data.covers.select(["width_px", "height_px"]))
    return {"sizes": _sizes(connection), "notes": _notes(data.covers)}


def describe_frames(data: Dataset, connection: Connection) -> dict[str, Any] | None:
    """Frame counts, durations and frame rates of the clips; None without frames.

    Includes sizes in pixels if the table has them.
    """
    if not Table(data.path / "frames").exists():
        return None
    table = data.frames
    found: dict[str, Any] = {
        "frames": spread(_numbers(pc.list_value_length(table.column("frames")))),
        "duration_seconds": spread(_numbers(table.column("duration_seconds"))),
        "fps": spread(_numbers(table.column("fps"))),
        "notes": _notes(table),
    }
    if {"width_px", "height_px"} <= set(table.schema.names):
        connection.register("sizes", table.select(["width_px", "height_px"]))
        found["sizes"] = _sizes(connection)
    return found


def _notes(table: pa.Table) -> dict[str, int]:
    """The number of rows by note on changes to their pictures."""
    if "note" not in table.schema.names:
        return {}
    counted = table.column("note").drop_null().value_counts().to_pylist()
    return {
        entry["values"]: entry["counts"] for entry in sorted(counted, key=lambda e: e["values"])
    }


def digests(data: Dataset, name: str, content: str) -> pa.Table:
    """Item and digest of the source of each row of a media table; rows without content are left out.

    Args:
        data: the dataset.
        name: name of the table, `covers` or `frames`.
        content: its column of JPEG bytes.
    """
    table = Table(data.path / name).read()
    known = table.column(DIGEST).to_pylist()
    digest = [
        sha or _hash_of(value) for sha, value in zip(known, table.column(content), strict=True)
    ]
    found = pa.table({"item_id": table.column("item_id"), "digest": pa.array(digest, pa.string())})
    # Empty files are equal but do not count as duplicates.
    is_empty = pc.fill_null(pc.equal(table.column("source_bytes"), 0), False)
    return found.filter(pc.and_not(pc.is_valid(found.column("digest")), is_empty))


def _hash_of(value: pa.Scalar) -> str | None:
    if not value.is_valid:
        return None
    images = value.values if pa.types.is_list(value.type) else [value]
    hashes = [hashlib.sha256(image.as_buffer()).digest() for image in images]
    return hashlib.sha256(b"".join(hashes)).hexdigest() if hashes else None


def _numbers(column: pa.ChunkedArray) -> np.ndarray[Any, Any]:
    return np.asarray(column.drop_null().to_numpy())


def _sizes(connection: Connection) -> dict[str, Any]:
    found = records(
        connection,
        "SELECT width_px, height_px, count(*) AS items FROM sizes WHERE width_px IS NOT NULL "
        "GROUP BY ALL ORDER BY items DESC, width_px, height_px",
    )
    return {"distinct": len(found), "most_common": found[:COMMON_SIZES]}
