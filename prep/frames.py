"""Frames: a few stills of each item's clip, spread over its time, smaller, as JPEG."""

from pathlib import Path
from typing import Any

import pyarrow as pa

from prep.files import locate
from prep.images import shrink, to_jpeg
from prep.problems import ItemProblem
from prep.sniff import refuse_other
from prep.video import BACKENDS, read_clip
from prep.video.sampling import uniform
from toolkit import schema

SUFFIX = ".mp4"
SCHEMA = schema.FRAMES.append(pa.field("message", pa.string()))


def make_frames(
    batch: pa.RecordBatch,
    *,
    dump: Path,
    folder: Path,
    backend: str,
    frame_count: int,
    frame_px: int,
) -> pa.Table:
    """A row for each item of the batch (`toolkit.schema.FRAMES` and `message`).

    Args:
        batch: with the column item_id.
        dump: the dump's folder.
        folder: where the clips lie.
        backend: a key of `prep.video.BACKENDS`.
        frame_count: frames asked for.
        frame_px: shorter side of what is stored, in pixels.
    """
    rows = []
    for item_id in batch.column("item_id").to_pylist():
        try:
            path = locate(dump, folder, item_id, SUFFIX)
            row = stills(path, backend=backend, count=frame_count, px=frame_px)
        except ItemProblem as problem:
            row = {"status": problem.status, "message": problem.message}
        rows.append({"item_id": item_id, **row})
    return pa.Table.from_pylist(rows, schema=SCHEMA)


def stills(path: Path, *, backend: str, count: int, px: int) -> dict[str, Any]:
    """The columns of one clip's row, but for its id.

    Raises:
        ItemProblem: if there is not a single frame to be had.
    """
    refuse_other(path, "video")
    clip = read_clip(path)
    indexes = uniform(clip, count)
    frames = [to_jpeg(shrink(pixels, px)) for pixels in BACKENDS[backend](clip, indexes)]
    if not frames:
        raise ItemProblem(
            "corrupt",
            f"{path.name}: {backend} can decode none of the {len(indexes)} frames that are there; "
            "another media.backend may",
        )
    truncated = len(frames) < count
    return {
        "frames": frames,
        "pts_seconds": [clip.seconds(index) for index in indexes[: len(frames)]],
        "duration_seconds": clip.duration_seconds,
        "fps": clip.fps,
        "backend": backend,
        "status": "truncated" if truncated else "ok",
        "message": f"{path.name}: {backend} reached {len(frames)} of {count} frames"
        if truncated
        else None,
    }
