"""Step media: stores the cover of each item and frames of its clip, if the dump has them."""

from collections import Counter
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

from prep.config import MediaConfig, PrepConfig
from prep.executors import choose
from prep.pictures import covers, frames, stills
from prep.pictures.video import BACKENDS, load
from prep.pictures.watchdog import sharing
from prep.readers.media_folder import MediaFolder
from prep.readers.media_places import MediaPlaces
from prep.steps import manifest
from prep.steps.pipeline import Step, run_step
from prep.steps.writing import refuse_one_folder, writing
from toolkit import open_dataset, schema
from toolkit.errors import UserError
from toolkit.store import Table
from toolkit.versions import versions

COVERS_SHARD = 256
FRAMES_SHARD = 64


@sharing()
def media(
    dump: str | Path,
    dataset: str | Path,
    config: PrepConfig | None = None,
    *,
    retry_failed: bool = False,
) -> None:
    """Writes `covers/` and `frames/`, one row per item, and failures into `errors/`.

    If the dump has no covers or no videos, that table is skipped with a message.

    Args:
        dump: folder of the downloaded dump.
        dataset: folder that `ingest` wrote.
        config: this step uses `media`, which it records in `dataset.json`, and the executor settings.
        retry_failed: whether to retry items whose status is not ok.

    Raises:
        UserError: if nothing is ingested, the decoding backend cannot be loaded, or existing rows were written
            with another configuration.
    """
    dump, dataset, config = Path(dump), Path(dataset), config or PrepConfig()
    manifest.require_interactions(dataset)
    if not dump.is_dir():
        raise UserError(f"{dump}: no such folder; give the folder that holds the dump")
    refuse_one_folder(dump, dataset)
    load(config.media.backend)  # fails now rather than in a worker
    for name, step in media_steps(dump, config.media).items():
        with writing(dataset, name):
            _store(dump, dataset, name, step, config, retry_failed=retry_failed)
    manifest.record_config(dataset, media=asdict(config.media))


def _store(
    dump: Path,
    dataset: Path,
    name: str,
    step: Step | None,
    config: PrepConfig,
    *,
    retry_failed: bool,
) -> None:
    if step is None:
        reason = MediaPlaces(dump).why_none(name)
        print(f"{name}: skipped, {reason}")
        manifest.record_step(dataset, name, {}, skipped=reason)
        return
    step = _as_begun(dataset, step)
    items = open_dataset(dataset).items.select(["item_id"])
    counts = run_step(dataset, step, items, execute=choose(config), retry_failed=retry_failed)
    _print_notes(dataset, step)
    manifest.record_step(
        dataset, name, step.config, versions=versions(*BACKENDS.values()), items=counts
    )


def media_steps(dump: Path, config: MediaConfig) -> dict[str, Step | None]:
    """Both steps by name; None if the dump has no files for a step."""
    folders = MediaPlaces(dump)
    for message in folders.unread():
        print(f"media: {message}")
    return {
        "covers": _covers_step(dump, folders.covers, config) if folders.covers else None,
        "frames": _choose_frames_step(dump, folders, config),
    }


def _as_begun(dataset: Path, step: Step) -> Step:
    """The step with the columns of its existing table: tables of earlier versions have no notes."""
    table = Table(dataset / step.folder)
    if not table.exists() or "note" in table.schema().names or "note" not in step.schema.names:
        return step
    return replace(step, schema=step.schema.remove(step.schema.get_field_index("note")))


def _print_notes(dataset: Path, step: Step) -> None:
    """Prints the number of rows for each note."""
    table = Table(dataset / step.folder)
    if not table.exists() or "note" not in table.schema().names:
        return
    notes = Counter(n for batch in table.batches(["note"]) for n in batch["note"].to_pylist() if n)
    for note, count in sorted(notes.items()):
        print(f"{step.name}: {count:,} of them with {note}")


def _choose_frames_step(dump: Path, folders: MediaPlaces, config: MediaConfig) -> Step | None:
    """Frames from clips or from released frames, depending on `media.frames_from`; auto prefers clips."""
    use_clips = config.frames_from == "videos" or (config.frames_from == "auto" and folders.clips)
    folder = folders.clips if use_clips else folders.released
    if folder is None:
        if config.frames_from == "auto":
            return None
        raise UserError(
            f"{dump}: media.frames_from is {config.frames_from}, but the dump has no such folder "
            "(videos: *video*/ID.mp4; released: *frame*/ID-1.jpg, ...; "
            f"{folders.why_none('frames')}); add the folder, or omit the key"
        )
    return (_frames_step if use_clips else _stills_step)(dump, folder, config)


def _stills_step(dump: Path, folder: MediaFolder, config: MediaConfig) -> Step:
    settings = {"frame_count": config.frame_count, "frame_px": config.frame_px}
    work = partial(
        stills.make_stills, dump=dump, folder=folder, limit_seconds=config.clip_seconds, **settings
    )
    recorded = {**settings, "backend": stills.BACKEND}
    return Step("frames", "frames", stills.STORED, recorded, work, FRAMES_SHARD)


def _covers_step(dump: Path, folder: MediaFolder, config: MediaConfig) -> Step:
    settings = {"cover_px": config.cover_px}
    work = partial(
        covers.make_covers, dump=dump, folder=folder, limit_seconds=config.clip_seconds, **settings
    )
    return Step("covers", "covers", covers.STORED, settings, work, COVERS_SHARD)


def _frames_step(dump: Path, folder: MediaFolder, config: MediaConfig) -> Step:
    settings: dict[str, Any] = {
        "sampling": config.sampling,
        "frame_count": config.frame_count,
        "frame_interval": config.frame_interval,
        "frame_px": config.frame_px,
        "backend": config.backend,
    }
    # Not recorded, because rows do not depend on it: a run may resume with a higher limit.
    limit_seconds = config.clip_seconds
    work = partial(
        frames.make_frames, dump=dump, folder=folder, clip_seconds=limit_seconds, **settings
    )
    return Step("frames", "frames", schema.FRAMES, settings, work, FRAMES_SHARD)
