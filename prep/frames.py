"""Frames: a few stills of each item's clip, spread over its time, smaller, as JPEG."""

import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa

from prep.files import locate
from prep.images import shrink, to_jpeg
from prep.problems import ItemProblem
from prep.sniff import refuse_other
from prep.video import BACKENDS, read_clip
from prep.video.sampling import uniform
from prep.watchdog import CrashedError, Watchdog
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
    clip_seconds: float | None = None,
) -> pa.Table:
    """A row for each item of the batch (`toolkit.schema.FRAMES` and `message`).

    Args:
        batch: with the column item_id.
        dump: the dump's folder.
        folder: where the clips lie.
        backend: a key of `prep.video.BACKENDS`.
        frame_count: frames asked for.
        frame_px: shorter side of what is stored, in pixels.
        clip_seconds: time limit of one clip; it is decoded in a process that is killed beyond it.
            None decodes in this process, without a limit.
    """
    options = {"backend": backend, "count": frame_count, "px": frame_px}
    ids = batch.column("item_id").to_pylist()
    with contextlib.ExitStack() as stack:
        decode: Callable[..., dict[str, Any]] = stills
        if clip_seconds is not None:
            decode = stack.enter_context(Watchdog(stills, limit_seconds=clip_seconds))
        rows = [{"item_id": id_, **_row(decode, id_, dump, folder, options)} for id_ in ids]
    return pa.Table.from_pylist(rows, schema=SCHEMA)


def _row(
    decode: Callable[..., dict[str, Any]],
    item_id: str,
    dump: Path,
    folder: Path,
    options: dict[str, Any],
) -> dict[str, Any]:
    try:
        path = locate(dump, folder, item_id, SUFFIX)
        return decode(path, **options)
    except ItemProblem as problem:
        return {"status": problem.status, "message": problem.message}
    except TimeoutError as error:
        message = f"{path.name}: {error}; a higher media.clip_seconds may do"
        return {"status": "timeout", "message": message}
    except CrashedError as error:
        message = f"{path.name}: the decoder crashed on it ({error}); another media.backend may not"
        return {"status": "corrupt", "message": message}


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
