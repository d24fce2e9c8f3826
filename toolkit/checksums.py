"""Size and SHA-256 of every shard of a dataset, in notes while a step runs and in `dataset.json` after its end.

A shard is hashed while it is written. Its checksum is appended to a file of notes in the same folder before the shard
is renamed to its final name, so a step that is killed and resumed need not trust existing files. At the end of the
step, the notes move to the manifest (`prep.steps.checksums`), under the key `shards`:

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

SHARDS = "shards"  # key of the manifest
ERRORS = "errors"
NOTES = ".checksums"  # suffix of files of notes
_SHARD = re.compile(r"(?P<table>.+)-(?P<index>\d+)\.arrow", re.ASCII)


class Checksum(NamedTuple):
    """Identity of a file's content.

    Args:
        bytes: size of the file.
        sha256: SHA-256 of the content, hexadecimal.
    """

    bytes: int
    sha256: str


Known = dict[str, list[Checksum | None]]  # by path in the dataset; None for a removed file


class HashingFile:
    """Writes to a file and hashes the data.

    Args:
        file: file opened for writing, positioned at its beginning.
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
        """The number of bytes written."""
        return self._bytes

    def flush(self) -> None:
        """Flushes the file."""
        self._file.flush()

    @property
    def checksum(self) -> Checksum:
        """The checksum of all data written so far."""
        return Checksum(self._bytes, self._digest.hexdigest())


def checksum_of(path: Path) -> Checksum:
    """The checksum of a file, read in blocks.

    Raises:
        OSError: if the file cannot be read.
    """
    with path.open("rb") as file:
        return Checksum(
            os.fstat(file.fileno()).st_size, hashlib.file_digest(file, "sha256").hexdigest()
        )


def shard_index(path: Path, table: str = "part") -> int | None:
    """The index of a table's shard, `part-00003.arrow` or `errors/STEP-00003.arrow`; None for other files."""
    match = _SHARD.fullmatch(path.name)
    return int(match["index"]) if match and match["table"] == table else None


def note(path: Path, checksum: Checksum | None) -> None:
    """Notes the checksum of the file that will be written to `path`, or None if it will be removed.

    Files that are not shards of a dataset are ignored.
    """
    match = _SHARD.fullmatch(path.name)
    if match and (match["table"] == "part" or path.parent.name == ERRORS):
        # The leading newline separates this line from a partial line of a killed process.
        line = f"\n{json.dumps({'file': path.name, **(checksum._asdict() if checksum else {})})}\n"
        with notes_of(path.parent, match["table"]).open("ab") as file:
            file.write(line.encode())


def known_checksums(dataset: Path, manifest: Mapping[str, Any]) -> Known:
    """The possible checksums of each shard: from the manifest and from the notes of unfinished steps.

    Raises:
        UserError: if the manifest's record does not have the form that prep writes.
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
    """The checksums in a manifest by path in the dataset; empty for a manifest of an older version.

    Raises:
        UserError: if the record does not have the form that prep writes.
    """
    recorded = manifest.get(SHARDS, {})
    try:
        return {name: _checksum(record) for name, record in recorded.items()}
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise UserError(
            f"dataset.json: the key {SHARDS} is malformed ({error}), expected the size (bytes) and sha256 of each "
            "shard by path; restore the file, or build into a new folder"
        ) from None


def damage(path: Path, known: Iterable[Checksum | None]) -> str | None:
    """The damage of a file whose checksum must be one of `known`; None if it matches or no checksum is known."""
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
            else "is damaged: its SHA-256 differs from that of the written file"
        )
    except OSError as error:
        return f"cannot be read ({error.strerror})"


def refuse_other_files(
    dataset: Path, folder: str, recorded: Mapping[str, Checksum], shards: Iterable[Path]
) -> None:
    """Compares names and sizes of a table's shards with their record, without reading them.

    Args:
        dataset: dataset folder.
        folder: folder of the table in the dataset.
        recorded: checksums by path in the dataset, as recorded when the dataset was opened.
        shards: existing shards.

    Raises:
        UserError: if a shard is missing or has another size, unless a running or recently finished step explains it.
    """
    wanted = {name: c for name, c in recorded.items() if name.rpartition("/")[0] == folder}
    sizes = {f"{folder}/{path.name}": path.stat().st_size for path in shards}
    for name, checksum in wanted.items():
        if sizes.get(name) != checksum.bytes and not _explained(dataset, name, sizes.get(name)):
            defect = (
                f"has {sizes[name]:,} bytes, but dataset.json records {checksum.bytes:,}"
                if name in sizes
                else "is missing, but dataset.json records it"
            )
            raise UserError(
                f"{dataset / name} {defect}: it was truncated, changed or removed since it was written; "
                f"restore it, or delete {dataset / folder} and run prep again"
            )


def _explained(dataset: Path, name: str, size: int | None) -> bool:
    known = known_checksums(dataset, read_json_object(dataset / MANIFEST)).get(name, [None])
    return size in [checksum and checksum.bytes for checksum in known]


def notes_of(folder: Path, table: str = "part") -> Path:
    """The file of notes for a table's shards in a folder.

    Several steps share `errors/`, so each step has its own file, next to this folder.
    """
    if folder.name == ERRORS:
        return folder.parent / f".{ERRORS}-{table}{NOTES}"
    return folder / f".{table}{NOTES}"


def _read_notes(path: Path) -> list[tuple[str, Checksum | None]]:
    notes: list[tuple[str, Checksum | None]] = []
    for line in path.read_bytes().splitlines():
        try:
            entry = json.loads(line)
            notes.append((Path(entry["file"]).name, _checksum(entry) if "bytes" in entry else None))
        except (ValueError, TypeError, KeyError):
            continue  # a process was killed while writing this line, before it renamed its shard
    return notes


def _checksum(record: Mapping[str, Any]) -> Checksum:
    size, digest = record["bytes"], record["sha256"]
    if not isinstance(size, int) or not isinstance(digest, str):
        raise ValueError(f"{dict(record)!r:.80}")
    return Checksum(size, digest)
