"""Frames that a dump was released with, where the clips themselves need not be there.

MicroLens has a folder of `<item>-<k>.jpg`, k = 1..5: consecutive frames around each clip's middle.
When they were on screen is not released, so `pts_seconds`, `duration_seconds` and `fps` are null.
"""

from pathlib import Path
from typing import Any

import pyarrow as pa

from prep.files import locate
from prep.images import read_image, shrink, to_jpeg
from prep.problems import ItemProblem
from prep.sniff import refuse_other
from prep.watchdog import ReadsFile, watched
from toolkit import schema

FOLDER_WORD = "frame"
FILES = "-[0-9].jpg"  # how the names of a folder of released frames end
BACKEND = "released"  # stands in the column `backend`
SCHEMA = schema.FRAMES.append(pa.field("message", pa.string()))


def make_stills(
    batch: pa.RecordBatch,
    *,
    dump: Path,
    folder: Path,
    frame_count: int,
    frame_px: int,
    limit_seconds: float | None = None,
) -> pa.Table:
    """A row for each item of the batch (`toolkit.schema.FRAMES` and `message`).

    An item of which no frame is there is missing; one of which only some can be had is truncated.

    Args:
        batch: with the column item_id.
        dump: the dump's folder.
        folder: where the frames lie.
        frame_count: frames asked for, the first of an item's; more than were released leave every
            item truncated.
        frame_px: shorter side of what is stored, in pixels.
        limit_seconds: time limit of one frame; it is decoded in a process that is killed beyond it. None
            decodes in this process, without a limit.
    """
    read = watched(still_of, limit_seconds)
    ids = batch.column("item_id").to_pylist()
    rows = [{"item_id": id_, **_row(read, id_, dump, folder, frame_count, frame_px)} for id_ in ids]
    return pa.Table.from_pylist(rows, schema=SCHEMA)


def still_of(path: Path, frame_px: int) -> dict[str, Any]:
    """One released frame, as it is stored, in the column `frame`.

    Raises:
        ItemProblem: if it is no picture that can be read.
    """
    refuse_other(path, "image")
    return {"frame": to_jpeg(shrink(read_image(path), frame_px))}


def _row(
    read: ReadsFile, item_id: str, dump: Path, folder: Path, frame_count: int, frame_px: int
) -> dict[str, Any]:
    frames: list[bytes] = []
    problems: list[ItemProblem] = []
    for k in range(1, frame_count + 1):
        try:
            path = locate(dump, folder, item_id, f"-{k}.jpg")
            frames.append(read(path, frame_px=frame_px)["frame"])
        except ItemProblem as problem:
            problems.append(problem)
    if not frames:  # a file that is there but broken says more than one that is not
        worst = next((p for p in problems if p.status != "missing"), problems[0])
        return {"status": worst.status, "message": worst.message}
    row = {"frames": frames, "backend": BACKEND, "status": "ok"}
    if problems:
        reasons = "; ".join(problem.message for problem in problems)
        told = f"{len(frames)} of {frame_count} frames can be had: {reasons}"
        row |= {"status": "truncated", "message": told}
    return row
