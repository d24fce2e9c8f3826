"""The second step: each item's cover and frames of its clip, as far as the dump has any."""

from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

from prep import covers, frames, manifest, stills
from prep.config import MediaConfig, PrepConfig
from prep.executors import choose
from prep.files import find_folder
from prep.ingest import refuse_one_folder
from prep.pipeline import Step, run_step
from prep.video import BACKENDS, load
from prep.watchdog import close_shared
from prep.writing import writing
from toolkit import open_dataset, schema
from toolkit.errors import UserError
from toolkit.versions import versions

COVERS_SHARD = 256
FRAMES_SHARD = 64


def media(
    dump: str | Path,
    dataset: str | Path,
    config: PrepConfig | None = None,
    *,
    retry_failed: bool = False,
) -> None:
    """Writes `covers/` and `frames/`, a row an item, and what went wrong into `errors/`.

    A dump without any covers, or without any videos, skips that table and says so.

    Args:
        dump: folder of what was downloaded.
        dataset: what `ingest` wrote.
        config: `media`, which is kept in `dataset.json`, and where to work are read here.
        retry_failed: whether items that are not ok are done again.

    Raises:
        UserError: if nothing is ingested, the backend does not load here, or existing rows were made with
            another configuration.
    """
    dump, dataset, config = Path(dump), Path(dataset), config or PrepConfig()
    manifest.require(dataset)
    if not dump.is_dir():
        raise UserError(f"{dump}: no such folder; give the folder that holds the dump")
    refuse_one_folder(dump, dataset)
    load(config.media.backend)  # one that does not is told of before anything runs
    for name, step in media_steps(dump, config.media).items():
        with writing(dataset, name):
            _store(dataset, name, step, config, retry_failed=retry_failed)
    manifest.record_config(dataset, media=asdict(config.media))


def _store(
    dataset: Path, name: str, step: Step | None, config: PrepConfig, *, retry_failed: bool
) -> None:
    if step is None:
        print(f"{name}: skipped, the dump has none")
        manifest.record_step(dataset, name, {}, skipped="the dump has none")
        return
    items = open_dataset(dataset).items.select(["item_id"])
    try:
        counts = run_step(dataset, step, items, execute=choose(config), retry_failed=retry_failed)
    finally:
        close_shared()
    found = versions(*BACKENDS.values())
    manifest.record_step(dataset, name, step.config, versions=found, items=counts)


def media_steps(dump: Path, config: MediaConfig) -> dict[str, Step | None]:
    """Both steps by name; None where the dump has no files for it."""
    dump = dump.absolute()  # workers elsewhere have another current folder
    images = find_folder(dump, "cover", covers.SUFFIX)
    images = images or find_folder(dump, "item_images", covers.SUFFIX)  # MicroLens' challenge
    return {
        "covers": _covers_step(dump, images, config) if images else None,
        "frames": _choose_frames_step(dump, config),
    }


def _choose_frames_step(dump: Path, config: MediaConfig) -> Step | None:
    """Frames from clips or from released frames, as `media.frames_from` says; auto prefers clips."""
    clips = find_folder(dump, "video", frames.SUFFIX)
    released = find_folder(dump, stills.FOLDER_WORD, stills.FILES)
    use_clips = config.frames_from == "videos" or (config.frames_from == "auto" and clips)
    folder = clips if use_clips else released
    if folder is None:
        if config.frames_from == "auto":
            return None
        raise UserError(
            f"{dump}: media.frames_from is {config.frames_from}, but there is no folder of them here "
            "(videos: *video*/ID.mp4; released: *frame*/ID-1.jpg, ...); add it, or leave the key out"
        )
    return (_frames_step if use_clips else _stills_step)(dump, folder, config)


def _stills_step(dump: Path, folder: Path, config: MediaConfig) -> Step:
    settings = {"frame_count": config.frame_count, "frame_px": config.frame_px}
    work = partial(stills.make_stills, dump=dump, folder=folder, **settings)
    about = {**settings, "backend": stills.BACKEND}
    return Step("frames", "frames", schema.FRAMES, about, work, FRAMES_SHARD)


def _covers_step(dump: Path, folder: Path, config: MediaConfig) -> Step:
    settings = {"cover_px": config.cover_px}
    work = partial(covers.make_covers, dump=dump, folder=folder, cover_px=config.cover_px)
    return Step("covers", "covers", schema.COVERS, settings, work, COVERS_SHARD)


def _frames_step(dump: Path, folder: Path, config: MediaConfig) -> Step:
    settings: dict[str, Any] = {
        "sampling": config.sampling,
        "frame_count": config.frame_count,
        "frame_interval": config.frame_interval,
        "frame_px": config.frame_px,
        "backend": config.backend,
    }
    # No setting that rows depend on: with a higher limit, a run may go on where another stopped.
    limit_seconds = config.clip_seconds
    work = partial(
        frames.make_frames, dump=dump, folder=folder, clip_seconds=limit_seconds, **settings
    )
    return Step("frames", "frames", schema.FRAMES, settings, work, FRAMES_SHARD)
