"""The files that a step of prep has written, and their checksums in `dataset.json`."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from toolkit.checksums import (
    ERRORS,
    SHARDS,
    Checksum,
    checksum_of,
    damage,
    known_checksums,
    notes_of,
    shard_index,
)
from toolkit.errors import UserError
from toolkit.json_files import MANIFEST
from toolkit.manifest import read_manifest

# Prefixes of the names of steps that have a table per name, and the folders of these tables.
_FOLDERS = {"encode:": "states/", "tokens:": "tokens/", "caption:": "captions/"}


def files_of(dataset: Path, step: str) -> list[Path]:
    """The files that a step of prep has written: shards of its tables and of its errors."""
    tables = [path for name in tables_of(step) for path in (dataset / name).glob("*.arrow")]
    name = errors_name(step)
    errors = [
        path for path in (dataset / ERRORS).glob("*.arrow") if shard_index(path, name) is not None
    ]
    return sorted(tables) + sorted(errors)


def tables_of(step: str) -> tuple[str, ...]:
    """Folders of the tables that a step writes.

    >>> tables_of("ingest"), tables_of("encode:title"), tables_of("tokens:title"), tables_of("covers")
    (('items', 'interactions'), ('states/title',), ('tokens/title',), ('covers',))
    """
    if step == "ingest":
        return ("items", "interactions")
    for prefix, folder in _FOLDERS.items():
        step = step.replace(prefix, folder, 1)
    return (step,)


def errors_name(step: str) -> str:
    """The prefix of the names of a step's error files."""
    return step.replace(":", "-")


def step_of(folder: str) -> str:
    """The step that writes a table with one row per item, by its name in `errors/` and `dataset.json`."""
    for prefix, table in _FOLDERS.items():
        folder = folder.replace(table, prefix, 1)
    return folder


def belongs_to(name: str, step: str) -> bool:
    """Whether a recorded path is a file of a step."""
    folder, _, file = name.rpartition("/")
    if folder == ERRORS:
        return shard_index(Path(file), errors_name(step)) is not None
    return folder in tables_of(step)


def settle(dataset: Path, step: str, recorded: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """The entry `shards` of a manifest after the end of a step.

    A file with one known checksum keeps it without being read again, so that later damage can be detected. A file with
    several checksums (it was replaced) is read to choose one. A file without a checksum is hashed as it is.

    Args:
        dataset: dataset folder.
        step: the finished step.
        recorded: the manifest before.

    Returns:
        The checksums of this step's files and, unchanged, of all others.
    """
    known = known_checksums(dataset, recorded)
    others = {
        name: checksum
        for name, checksum in recorded.get(SHARDS, {}).items()
        if not belongs_to(name, step)
    }
    ours = {path.relative_to(dataset).as_posix(): path for path in files_of(dataset, step)}
    settled = {name: _settled(path, known.get(name, [])) for name, path in ours.items()}
    return {**others, **{name: checksum._asdict() for name, checksum in settled.items()}}


def forget_notes(dataset: Path, step: str) -> None:
    """Removes the checksum notes of a step after the manifest has recorded them."""
    for name in tables_of(step):
        notes_of(dataset / name).unlink(missing_ok=True)
    notes_of(dataset / ERRORS, errors_name(step)).unlink(missing_ok=True)


def refuse_damaged(dataset: Path, paths: Iterable[Path]) -> None:
    """Refuses damaged files before their rows are rewritten with a new checksum.

    Raises:
        UserError: with the first damaged file.
    """
    known = known_checksums(dataset, _manifest(dataset))
    for path in paths:
        reason = damage(path, known.get(path.relative_to(dataset).as_posix(), []))
        if reason:
            raise UserError(f"{path} {reason}; restore it from a copy, or build into a new folder")


def _manifest(dataset: Path) -> dict[str, Any]:
    return read_manifest(dataset / MANIFEST) if (dataset / MANIFEST).exists() else {}


def _settled(path: Path, known: list[Checksum | None]) -> Checksum:
    wanted = list(dict.fromkeys(checksum for checksum in known if checksum))
    if len(wanted) == 1:
        return wanted[0]
    actual = checksum_of(path)
    return actual if actual in wanted or not wanted else wanted[-1]
