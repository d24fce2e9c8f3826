"""Are the files of the dump still those that were read? Compares the stored digests, on request.

A rebuild goes by rows, not by files: a cover that was replaced after its row was written stays as it was.
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

SHOWN = 5  # item ids
_COLUMNS = ["item_id", "source_sha256", "status"]
Digest = Callable[[str], str]  # of an item's file, by its id; raises ItemProblem


def check_sources(dataset: str | Path, dump: str | Path) -> list[str]:
    """Reasons why covers and frames are not those of the dump any more; an empty list if they are.

    Args:
        dataset: its folder.
        dump: the folder that it was built from. Every cover and clip in it is read.

    Raises:
        UserError: if there is no such dump.
    """
    dump = Path(dump)
    if not dump.is_dir():
        raise UserError(f"{dump}: no such folder; give the folder that holds the dump")
    try:
        data = open_dataset(dataset)
        places = MediaPlaces(dump)
        tables = [name for name in ("covers", "frames") if Table(data.path / name).exists()]
        return [reason for name in tables for reason in _compare(data, name, places)]
    except UserError as error:
        return [str(error)]


def _compare(data: Dataset, name: str, places: MediaPlaces) -> list[str]:
    table = Table(data.path / name)
    rows = [row for batch in table.batches(_COLUMNS) for row in batch.to_pylist()]
    known = {row["item_id"]: row["source_sha256"] for row in rows if row["source_sha256"]}
    unknown = sum(row["status"] == "ok" and not row["source_sha256"] for row in rows)
    reasons = []
    if unknown:
        reasons.append(
            f"{name}: {unknown:,} rows have no digest of their files, so they cannot be compared; build "
            "into a new folder to have digests"
        )
    digest = _digest_in(data, name, places)
    if digest is None and known:
        return [
            *reasons,
            f"{name}: none of the {len(known):,} files that were read can be compared: {places.why_none(name)}",
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
    anew = (
        f"to read them anew delete {table.folder} and the captions and states made of it, and run: "
        f"python -m prep build {places.dump} {data.path}"
    )
    for what, found in (("have changed since they were read", changed), ("cannot be had", absent)):
        if found:
            first = ", ".join(found[:SHOWN]) + (" …" if len(found) > SHOWN else "")
            told = f"{name}: {len(found):,} of {len(known):,} files {what} (items: {first})"
            reasons.append(f"{told}; {anew}" if found is changed else f"{told}; put them back")
    return reasons


def _digest_in(data: Dataset, name: str, places: MediaPlaces) -> Digest | None:
    """How to hash an item's file; None where the dump has no folder of them."""
    if name == "covers":
        return partial(_of_one, places.covers) if places.covers else None
    config = data.manifest.get("steps", {}).get("frames", {}).get("config", {})
    if config.get("backend") != RELEASED:
        return partial(_of_one, places.clips) if places.clips else None
    count = int(config.get("frame_count", 0))
    return partial(_of_stills, places.released, count) if places.released else None


def _of_one(folder: MediaFolder, item_id: str) -> str:
    return str(fingerprint(folder.locate(item_id))["source_sha256"])


def _of_stills(folder: MediaFolder, count: int, item_id: str) -> str:
    paths, problems = located(folder, item_id, count)
    if not paths:
        raise problems[0]
    return str(combined([fingerprint(path) for path in paths])["source_sha256"])
