"""Which files a step of prep has written, and their checksums in `dataset.json` once it has ended."""

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


def files_of(dataset: Path, step: str) -> list[Path]:
    """The files that a step of prep has written: the shards of its tables, and those of its errors."""
    tables = [path for name in tables_of(step) for path in (dataset / name).glob("*.arrow")]
    name = errors_name(step)
    errors = [
        path for path in (dataset / ERRORS).glob("*.arrow") if shard_index(path, name) is not None
    ]
    return sorted(tables) + sorted(errors)


def tables_of(step: str) -> tuple[str, ...]:
    """Folders of the tables that a step writes.

    >>> tables_of("ingest"), tables_of("encode:title"), tables_of("covers")
    (('items', 'interactions'), ('states/title',), ('covers',))
    """
    if step == "ingest":
        return ("items", "interactions")
    folder = step.replace("encode:", "states/", 1).replace("caption:", "captions/", 1)
    return (folder,)


def errors_name(step: str) -> str:
    """How the files of a step's errors begin."""
    return step.replace(":", "-")


def step_of(folder: str) -> str:
    """The step that writes a table with one row an item, as `errors/` and `dataset.json` call it."""
    return folder.replace("states/", "encode:", 1).replace("captions/", "caption:", 1)


def belongs_to(name: str, step: str) -> bool:
    """Whether a recorded path is of a step's files."""
    folder, _, file = name.rpartition("/")
    if folder == ERRORS:
        return shard_index(Path(file), errors_name(step)) is not None
    return folder in tables_of(step)


def settle(dataset: Path, step: str, recorded: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """What a manifest records under `shards` once a step has ended.

    A file with one checksum keeps it without being read again, so that damage since it was written stays to
    be found. One with several (it was replaced) is read to tell which, and one with none is trusted as it is.

    Args:
        dataset: the folder.
        step: that has ended.
        recorded: the whole manifest before.

    Returns:
        The record of this step's files and, unchanged, of all others.
    """
    known = known_checksums(dataset, recorded)
    others = {
        name: about
        for name, about in recorded.get(SHARDS, {}).items()
        if not belongs_to(name, step)
    }
    ours = {path.relative_to(dataset).as_posix(): path for path in files_of(dataset, step)}
    found = {name: _settled(path, known.get(name, [])) for name, path in ours.items()}
    return {**others, **{name: checksum._asdict() for name, checksum in found.items()}}


def forget_notes(dataset: Path, step: str) -> None:
    """Removes the notes of a step whose checksums the manifest holds."""
    for name in tables_of(step):
        notes_of(dataset / name).unlink(missing_ok=True)
    notes_of(dataset / ERRORS, errors_name(step)).unlink(missing_ok=True)


def refuse_damaged(dataset: Path, paths: Iterable[Path]) -> None:
    """Refuses files that are not what was written, before rows of them are written anew with a new checksum.

    Raises:
        UserError: naming the first.
    """
    known = known_checksums(dataset, _manifest(dataset))
    for path in paths:
        found = damage(path, known.get(path.relative_to(dataset).as_posix(), []))
        if found:
            raise UserError(f"{path} {found}; restore it from a copy, or build into a new folder")


def _manifest(dataset: Path) -> dict[str, Any]:
    return read_manifest(dataset / MANIFEST) if (dataset / MANIFEST).exists() else {}


def _settled(path: Path, known: list[Checksum | None]) -> Checksum:
    wanted = list(dict.fromkeys(checksum for checksum in known if checksum))
    if len(wanted) == 1:
        return wanted[0]
    found = checksum_of(path)
    return found if found in wanted or not wanted else wanted[-1]
