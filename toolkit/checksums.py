"""Size and SHA-256 of every shard of a dataset: noted beside it while a step runs, in `dataset.json` when it ends.

A shard is hashed while it is written. Its checksum is appended to a file of notes in the same folder before the
shard takes its place, so a step that is killed and goes on later need not trust what it reads again. When the
step ends, the notes go into the manifest (`prep.steps.checksums`), under the key `shards`:

    {"items/part-00000.arrow": {"bytes": 1234, "sha256": "9f86d0…"}, …}
"""

import hashlib
import json
import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from toolkit.errors import UserError
from toolkit.json_files import MANIFEST, read_json_object

SHARDS = "shards"  # the manifest's key
ERRORS = "errors"
NOTES = ".checksums"  # so end the names of files of notes
_SHARD = re.compile(r"(?P<table>.+)-(?P<index>\d+)\.arrow", re.ASCII)


class Checksum(NamedTuple):
    """What a whole file is recognised by.

    Args:
        bytes: its size.
        sha256: of its bytes, hexadecimal.
    """

    bytes: int
    sha256: str


Known = dict[str, list[Checksum | None]]  # by path in the dataset; None where it was removed


class HashingFile:
    """Passes on to a file what is written, and hashes it.

    Args:
        file: open for writing, at its beginning.
    """

    closed = False

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._digest = hashlib.sha256()
        self._bytes = 0

    def write(self, data: Any) -> int:
        """Writes all of `data`, an object with the buffer protocol."""
        self._digest.update(data)
        self._file.write(data)
        count = memoryview(data).nbytes
        self._bytes += count
        return count

    def tell(self) -> int:
        """How many bytes were written."""
        return self._bytes

    def flush(self) -> None:
        """Flushes the file."""
        self._file.flush()

    @property
    def checksum(self) -> Checksum:
        """Of all that was written so far."""
        return Checksum(self._bytes, self._digest.hexdigest())


def checksum_of(path: Path) -> Checksum:
    """The checksum of a file, read a block at a time.

    Raises:
        OSError: if it cannot be read.
    """
    with path.open("rb") as file:
        return Checksum(
            os.fstat(file.fileno()).st_size, hashlib.file_digest(file, "sha256").hexdigest()
        )


def shard_index(path: Path, table: str = "part") -> int | None:
    """The number of a shard of a table, `part-00003.arrow` or `errors/STEP-00003.arrow`; None for another file."""
    match = _SHARD.fullmatch(path.name)
    return int(match["index"]) if match and match["table"] == table else None


def note(path: Path, checksum: Checksum | None) -> None:
    """Notes what is about to lie at `path`, or with None that it is about to be removed.

    Files that are no shards of a dataset are not noted.
    """
    match = _SHARD.fullmatch(path.name)
    if match and (match["table"] == "part" or path.parent.name == ERRORS):
        # A line that a killed process left half written must not swallow this one.
        line = f"\n{json.dumps({'file': path.name, **(checksum._asdict() if checksum else {})})}\n"
        with notes_of(path.parent, match["table"]).open("ab") as file:
            file.write(line.encode())


def known_checksums(dataset: Path, manifest: Mapping[str, Any]) -> Known:
    """What each shard may be: as the manifest records it and, where a step has not ended, as it is noted.

    Raises:
        UserError: if the manifest's record is not what prep writes.
    """
    known: Known = {name: [checksum] for name, checksum in recorded_checksums(manifest).items()}
    for level in ("", "*/", "*/*/"):
        for notes in dataset.glob(f"{level}.*{NOTES}"):
            folder = notes.parent if level else dataset / ERRORS
            for name, checksum in _read_notes(notes):
                key = (folder / name).relative_to(dataset).as_posix()
                known.setdefault(key, []).append(checksum)
    return known


def recorded_checksums(manifest: Mapping[str, Any]) -> dict[str, Checksum]:
    """The checksums that a manifest records, by path in the dataset; empty in one of an older Versa.

    Raises:
        UserError: if the record is not what prep writes.
    """
    recorded = manifest.get(SHARDS, {})
    try:
        return {name: _checksum(about) for name, about in recorded.items()}
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise UserError(
            f"dataset.json: its key {SHARDS} is broken ({error}); expected the size (bytes) and sha256 of each "
            "shard by its path: restore the file, or build into a new folder"
        ) from None


def damage(path: Path, known: Iterable[Checksum | None]) -> str | None:
    """What is wrong with a file whose checksum must be one of some; None if nothing is, or none is known."""
    wanted = [checksum for checksum in known if checksum]
    if not wanted:
        return None
    try:
        size = path.stat().st_size
        if all(size != checksum.bytes for checksum in wanted):
            return f"has {size:,} bytes instead of {wanted[-1].bytes:,}"
        return (
            None
            if checksum_of(path) in wanted
            else "is damaged: its SHA-256 is not what was written"
        )
    except OSError as error:
        return f"cannot be read ({error.strerror})"


def refuse_other_files(
    dataset: Path, folder: str, recorded: Mapping[str, Checksum], shards: Iterable[Path]
) -> None:
    """Compares names and sizes of a table's shards with their record, which costs no reading.

    Args:
        dataset: the folder.
        folder: of the table in it.
        recorded: by path in the dataset, as it was when the dataset was opened.
        shards: that were found.

    Raises:
        UserError: if one is absent or has another size, and no step explains it that is under way or has
            ended since.
    """
    wanted = {name: c for name, c in recorded.items() if name.rpartition("/")[0] == folder}
    found = {f"{folder}/{path.name}": path.stat().st_size for path in shards}
    for name, checksum in wanted.items():
        if found.get(name) != checksum.bytes and not _explained(dataset, name, found.get(name)):
            what = (
                f"has {found[name]:,} bytes, and dataset.json records {checksum.bytes:,}"
                if name in found
                else "is absent, and dataset.json records it"
            )
            raise UserError(
                f"{dataset / name} {what}: it was cut off, changed or removed since it was written; "
                f"restore it, or delete {dataset / folder} and run prep again"
            )


def _explained(dataset: Path, name: str, size: int | None) -> bool:
    known = known_checksums(dataset, read_json_object(dataset / MANIFEST)).get(name, [None])
    return size in [checksum and checksum.bytes for checksum in known]


def notes_of(folder: Path, table: str = "part") -> Path:
    """The file of notes about a table's shards in a folder.

    Several steps share `errors/`, so there is one for each, and it lies beside the folder.
    """
    if folder.name == ERRORS:
        return folder.parent / f".{ERRORS}-{table}{NOTES}"
    return folder / f".{table}{NOTES}"


def _read_notes(path: Path) -> list[tuple[str, Checksum | None]]:
    found: list[tuple[str, Checksum | None]] = []
    for line in path.read_bytes().splitlines():
        try:
            about = json.loads(line)
            found.append((Path(about["file"]).name, _checksum(about) if "bytes" in about else None))
        except (ValueError, TypeError, KeyError):
            continue  # the process was killed while it wrote this line: its shard did not get its name
    return found


def _checksum(about: Mapping[str, Any]) -> Checksum:
    size, digest = about["bytes"], about["sha256"]
    if not isinstance(size, int) or not isinstance(digest, str):
        raise ValueError(f"{dict(about)!r:.80}")
    return Checksum(size, digest)
