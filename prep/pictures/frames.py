"""Frames: a few stills of each item's clip, smaller, as JPEG."""

from functools import cache, partial
from pathlib import Path
from typing import Any

import pyarrow as pa

from prep.pictures.pixels import to_jpeg
from prep.pictures.source import fingerprint
from prep.pictures.video import BACKENDS, VideoInfo, load
from prep.pictures.video.sampling import POLICIES
from prep.pictures.watchdog import ReadsFile, watched
from prep.readers.media_folder import CLIPS, MediaFolder, as_media_folder
from prep.readers.sniff import refuse_other
from prep.steps.problems import ItemProblem
from toolkit import schema
from toolkit.versions import versions

SCHEMA = schema.FRAMES.append(pa.field("message", pa.string()))
_LOADERS = {name: partial(load, name) for name in BACKENDS}


def make_frames(
    batch: pa.RecordBatch,
    *,
    dump: Path,
    folder: Path | MediaFolder,
    backend: str,
    frame_count: int,
    frame_px: int,
    sampling: str = "uniform",
    frame_interval: int = 1,
    clip_seconds: float | None = None,
) -> pa.Table:
    """A row for each item of the batch (`toolkit.schema.FRAMES` and `message`).

    Args:
        batch: with the column item_id.
        dump: the dump's folder.
        folder: where the clips lie.
        backend: a key of `prep.pictures.video.BACKENDS`.
        frame_count: frames asked for.
        frame_px: shorter side of what is stored, in pixels.
        sampling: a key of `prep.pictures.video.sampling.POLICIES`.
        frame_interval: of sampling middle.
        clip_seconds: time limit of one clip; it is decoded in a process that is killed beyond it.
            None decodes in this process, without a limit.

    Raises:
        UserError: if the backend does not load here.
    """
    options = {
        "backend": backend,
        "sampling": sampling,
        "count": frame_count,
        "interval": frame_interval,
        "px": frame_px,
    }
    made_by = {"backend": backend, "backend_version": _version(backend)}
    place = as_media_folder(dump, folder, CLIPS)
    decode = watched(
        stills,
        clip_seconds,
        prepare=_LOADERS[backend],
        crash_advice="; another media.backend may not",
    )
    rows = [
        {"item_id": id_, **made_by, **_row(decode, id_, place, options)}
        for id_ in batch.column("item_id").to_pylist()
    ]
    return pa.Table.from_pylist(rows, schema=SCHEMA)


@cache
def _version(backend: str) -> str:
    distribution = BACKENDS[backend]
    return versions(distribution)[distribution]


def _row(
    decode: ReadsFile,
    item_id: str,
    folder: MediaFolder,
    options: dict[str, Any],
) -> dict[str, Any]:
    source: dict[str, Any] = {}
    try:
        path = folder.locate(item_id)
        source = fingerprint(path)
        return {**source, **decode(path, **options)}
    except ItemProblem as problem:
        return {**source, "status": problem.status, "message": problem.message}


def stills(
    path: Path, *, backend: str, sampling: str, count: int, interval: int, px: int
) -> dict[str, Any]:
    """The columns of one clip's row that come from its content.

    Raises:
        ItemProblem: if there is not a single frame to be had of a clip that was not cut.
    """
    refuse_other(path, "video")
    decoder = load(backend)
    info = decoder.probe(path)
    seconds, tolerance_seconds = POLICIES[sampling](info, count, interval)
    pixels, pts_seconds, decoded_by = decoder.frames_at(
        path, seconds, px, tolerance_seconds=tolerance_seconds
    )
    reached = len(pixels)
    if not reached and not info.is_cut:
        raise _undecodable(path, info, backend)
    return {
        "backend": decoded_by,
        "backend_version": _version(decoded_by),
        "frames": [to_jpeg(frame) for frame in pixels] or None,
        "pts_seconds": pts_seconds or None,
        "duration_seconds": info.duration_seconds,
        "fps": info.fps,
        "status": "ok" if reached == count else "truncated",
        "message": None
        if reached == count
        else f"{path.name}: {decoded_by} reached {reached} of {count} frames",
    }


def _undecodable(path: Path, info: VideoInfo, backend: str) -> ItemProblem:
    """What is wrong with a whole clip of which a backend decodes nothing."""
    if backend != "pyav" and load("pyav").frames_at(path, [0.0], 1).pixels:
        return ItemProblem(
            "unsupported",
            f"{path.name}: {backend} can decode none of its {info.codec} video; media.backend pyav can",
        )
    count = len(info.pts)
    return ItemProblem("corrupt", f"{path.name}: {backend} can decode none of its {count} frames")
