"""Compares the files of a dump with the digests stored when they were read.

A rebuild resumes by rows and does not compare files: a cover that was replaced after its row was written is not read
again.
"""

from collections.abc import Callable
from functools import partial
from pathlib import Path

from prep.pictures.source import combined, fingerprint
from prep.pictures.stills import BACKEND as RELEASED
from prep.pictures.stills import located
from prep.readers.media_folder import MediaFolder
from prep.readers.media_places import MediaPlaces
from prep.steps.problems import ItemProblem
from toolkit import Dataset, open_dataset
from toolkit.console.progress import Progress
from toolkit.errors import UserError
from toolkit.store import Table

SHOWN = 5  # item ids per message
_COLUMNS = ["item_id", "source_sha256", "status"]
Digest = Callable[[str], str]  # returns the digest of an item's file by item id; raises ItemProblem


def check_sources(dataset: str | Path, dump: str | Path) -> list[str]:
    """Lists differences between the stored covers and frames and the files of the dump; empty if there are none.

    Args:
        dataset: dataset folder.
        dump: folder from which the dataset was built. Every cover and clip in it is read.

    Raises:
        UserError: if the dump does not exist.
    """
    dump = Path(dump)
    if not dump.is_dir():
        raise UserError(f"{dump}: no such folder; give the folder that holds the dump")
    try:
        data = open_dataset(dataset)
        folders = MediaPlaces(dump)
        tables = [name for name in ("covers", "frames") if Table(data.path / name).exists()]
        return [reason for name in tables for reason in _compare(data, name, folders)]
    except UserError as error:
        return [str(error)]


def _compare(data: Dataset, name: str, folders: MediaPlaces) -> list[str]:
    table = Table(data.path / name)
    rows = [row for batch in table.batches(_COLUMNS) for row in batch.to_pylist()]
    known = {row["item_id"]: row["source_sha256"] for row in rows if row["source_sha256"]}
    unknown = sum(row["status"] == "ok" and not row["source_sha256"] for row in rows)
    reasons = []
    if unknown:
        reasons.append(
            f"{name}: {unknown:,} rows have no digest of their files, so they cannot be compared; build "
            "into a new folder to store digests"
        )
    digest = _digest_in(data, name, folders)
    if digest is None and known:
        return [
            *reasons,
            f"{name}: none of the {len(known):,} files that were read can be compared: {folders.why_none(name)}",
        ]
    changed, absent = [], []
    with Progress(f"comparing {name}", total=len(known), unit="files") as progress:
        for item_id, expected in known.items():
            try:
                if digest is not None and digest(item_id) != expected:
                    changed.append(item_id)
            except ItemProblem as problem:
                absent.append(f"{item_id} ({problem.message})")
            progress.advance(1)
    advice = (
        f"to read them again, delete {table.folder} and the captions and states that depend on it, and run: "
        f"python -m prep build {folders.dump} {data.path}"
    )
    for change, items in (
        ("have changed since they were read", changed),
        ("are not available", absent),
    ):
        if items:
            first = ", ".join(items[:SHOWN]) + (" …" if len(items) > SHOWN else "")
            reason = f"{name}: {len(items):,} of {len(known):,} files {change} (items: {first})"
            reasons.append(f"{reason}; {advice}" if items is changed else f"{reason}; restore them")
    return reasons


def _digest_in(data: Dataset, name: str, folders: MediaPlaces) -> Digest | None:
    """The function that hashes an item's file; None if the dump has no folder of such files."""
    if name == "covers":
        return partial(_file_digest, folders.covers) if folders.covers else None
    config = data.manifest.get("steps", {}).get("frames", {}).get("config", {})
    if config.get("backend") != RELEASED:
        return partial(_file_digest, folders.clips) if folders.clips else None
    count = int(config.get("frame_count", 0))
    return partial(_stills_digest, folders.released, count) if folders.released else None


def _file_digest(folder: MediaFolder, item_id: str) -> str:
    return str(fingerprint(folder.locate(item_id))["source_sha256"])


def _stills_digest(folder: MediaFolder, count: int, item_id: str) -> str:
    paths, problems = located(folder, item_id, count)
    if not paths:
        raise problems[0]
    return str(combined([fingerprint(path) for path in paths])["source_sha256"])
