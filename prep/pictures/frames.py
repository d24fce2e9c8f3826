"""Frames: a few frames of each item's clip as JPEGs, scaled down."""

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
    """One row per item of the batch (`toolkit.schema.FRAMES` and `message`).

    Args:
        batch: with the column item_id.
        dump: folder of the dump.
        folder: folder of the clips.
        backend: a key of `prep.pictures.video.BACKENDS`.
        frame_count: number of frames per clip.
        frame_px: shorter side of a stored frame, in pixels.
        sampling: a key of `prep.pictures.video.sampling.POLICIES`.
        frame_interval: distance between frames, for sampling middle.
        clip_seconds: time limit per clip, which is decoded in a process that is killed after it. None decodes in
            this process, without a limit.

    Raises:
        UserError: if the backend cannot be loaded.
    """
    options = {
        "backend": backend,
        "sampling": sampling,
        "count": frame_count,
        "interval": frame_interval,
        "px": frame_px,
    }
    decoder = {"backend": backend, "backend_version": _version(backend)}
    media = as_media_folder(dump, folder, CLIPS)
    decode = watched(
        stills,
        clip_seconds,
        prepare=_LOADERS[backend],
        crash_advice="; try another media.backend",
    )
    rows = [
        {"item_id": id_, **decoder, **_row(decode, id_, media, options)}
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
    """The columns of a clip's row that depend on its content.

    Raises:
        ItemProblem: if no frame of a clip can be decoded although the file is complete.
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
        **_completeness(path.name, decoded_by, reached, count, breaks_off=info.breaks_off),
    }


def _completeness(
    name: str, backend: str, reached: int, count: int, *, breaks_off: bool
) -> dict[str, Any]:
    if reached < count:
        message = f"{name}: {backend} decoded {reached} of {count} frames"
    elif breaks_off:
        message = f"{name} ends within a fragment: an unknown rest of the clip is missing"
    else:
        return {"status": "ok", "message": None}
    return {"status": "truncated", "message": message}


def _undecodable(path: Path, info: VideoInfo, backend: str) -> ItemProblem:
    """The problem of a complete clip of which a backend decodes no frame."""
    if backend != "pyav" and load("pyav").frames_at(path, [0.0], 1).pixels:
        return ItemProblem(
            "unsupported",
            f"{path.name}: {backend} cannot decode its {info.codec} video, but media.backend pyav can",
        )
    count = len(info.pts)
    return ItemProblem("corrupt", f"{path.name}: {backend} cannot decode any of its {count} frames")
