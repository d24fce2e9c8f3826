"""Released frames of a dump, for which the clips are not needed.

MicroLens has a folder of `<item>-<k>.jpg`, k = 1..5: consecutive frames around each clip's middle.
Their times are not released, so `pts_seconds`, `duration_seconds` and `fps` are null.
"""

from pathlib import Path
from typing import Any

import pyarrow as pa

from prep.pictures.pixels import ON_WHITE, read_picture, shrink, to_jpeg
from prep.pictures.source import combined, fingerprint
from prep.pictures.watchdog import ReadsFile, watched
from prep.readers.media_folder import PICTURES, MediaFolder, as_media_folder
from prep.steps.problems import ItemProblem
from toolkit import schema

BACKEND = "released"  # value of the column `backend`
STORED = schema.FRAMES.append(pa.field("note", pa.string()))
SCHEMA = STORED.append(pa.field("message", pa.string()))


def make_stills(
    batch: pa.RecordBatch,
    *,
    dump: Path,
    folder: Path | MediaFolder,
    frame_count: int,
    frame_px: int,
    limit_seconds: float | None = None,
) -> pa.Table:
    """One row per item of the batch (`STORED` and `message`).

    An item without any frame is missing; an item with only some readable frames is truncated.

    Args:
        batch: with the column item_id.
        dump: folder of the dump.
        folder: folder of the frames.
        frame_count: number of frames per item, counted from the first; if it is larger than the number of
            released frames, every item is truncated.
        frame_px: shorter side of a stored frame, in pixels.
        limit_seconds: time limit per frame, which is decoded in a process that is killed after it. None decodes in
            this process, without a limit.
    """
    media = as_media_folder(dump, folder, PICTURES)
    read = watched(still_of, limit_seconds)
    ids = batch.column("item_id").to_pylist()
    rows = [{"item_id": id_, **_row(read, id_, media, frame_count, frame_px)} for id_ in ids]
    return pa.Table.from_pylist(rows, schema=SCHEMA)


def still_of(path: Path, frame_px: int) -> dict[str, Any]:
    """One released frame in its stored form as `frame`, and an optional `note`.

    Raises:
        ItemProblem: if the file is not a readable picture.
    """
    picture = read_picture(path)
    frame = to_jpeg(shrink(picture.pixels, frame_px))
    return {"frame": frame, "note": ON_WHITE if picture.on_white else None}


def located(folder: MediaFolder, item_id: str, count: int) -> tuple[list[Path], list[ItemProblem]]:
    """The files of an item's first `count` frames, in order, and the problems of missing or unusable files."""
    paths: list[Path] = []
    problems: list[ItemProblem] = []
    for k in range(1, count + 1):
        try:
            paths.append(folder.locate(item_id, f"-{k}"))
        except ItemProblem as problem:
            problems.append(problem)
    return paths, problems


def _row(
    read: ReadsFile, item_id: str, folder: MediaFolder, frame_count: int, frame_px: int
) -> dict[str, Any]:
    paths, problems = located(folder, item_id, frame_count)
    sources: list[dict[str, Any]] = []
    frames: list[bytes] = []
    note = None
    for path in paths:
        try:
            sources.append(fingerprint(path))
            still = read(path, frame_px=frame_px)
        except ItemProblem as problem:
            problems.append(problem)
            continue
        frames.append(still["frame"])
        note = still.get("note") or note
    source = combined(sources)
    if not frames:  # a broken file is more informative than a missing file
        worst = next((p for p in problems if p.status != "missing"), problems[0])
        return {**source, "status": worst.status, "message": worst.message}
    row = {**source, "frames": frames, "backend": BACKEND, "note": note, "status": "ok"}
    if problems:
        reasons = "; ".join(problem.message for problem in problems)
        message = f"{len(frames)} of {frame_count} frames are readable: {reasons}"
        row |= {"status": "truncated", "message": message}
    return row
