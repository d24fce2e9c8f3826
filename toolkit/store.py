"""Sharded Arrow tables on disk: a shard is whole or absent, and the manifest is written last.

Arrow IPC *file* format, memory-mapped, so that `pyarrow.dataset`, `datasets` and pandas open the
shards unaided. Nothing here knows what a table means.
"""

import errno
import json
import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Literal

import pyarrow as pa
import pyarrow.ipc as ipc

from toolkit.errors import UserError

MANIFEST = "dataset.json"
SHARDS = "part-*.arrow"
_JSON_BYTES = 256 << 20  # a manifest that lists 100,000 shards and their digests has some 20 MB
_NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


@dataclass(frozen=True)
class Shard:
    """One file of a table and its place among its siblings."""

    index: int
    path: Path


def write_atomically(path: Path, write: Callable[[BinaryIO], object]) -> None:
    """Runs `write` on a temporary file, flushes it to disk, then renames it to `path`.

    Raises:
        UserError: if the disk is full, or a quota or a limit on file sizes is reached.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _replace(path, temporary, write)
    except OSError as error:
        if error.errno not in _NO_ROOM:
            error.filename = error.filename and str(path)  # nobody has heard of the temporary one
            raise
        raise _no_room(path, error) from None


def _replace(path: Path, temporary: Path, write: Callable[[BinaryIO], object]) -> None:
    try:
        with temporary.open("wb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def _no_room(path: Path, error: OSError) -> UserError:
    there = next(folder for folder in path.parents if folder.exists())
    free = shutil.disk_usage(there).free
    return UserError(
        f"{path}: there is no room for it ({error.strerror}; {free / 2**20:,.1f} MiB are free in {there}); "
        "it was not written, and what is finished is kept: make room and run the same command again"
    )


def write_json(path: Path, value: Any) -> None:
    """Writes `value` as indented JSON, atomically."""
    text = json.dumps(value, indent=2, ensure_ascii=False) + "\n"
    write_atomically(path, lambda file: file.write(text.encode()))


def read_json(path: Path) -> Any:
    """Reads a JSON file.

    Raises:
        UserError: if it is absent, larger than any that this project writes, or not JSON.
    """
    try:
        if path.stat().st_size > _JSON_BYTES:
            raise UserError(
                f"{path}: more than {_JSON_BYTES >> 20} MiB; this is no file that Versa wrote"
            )
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"{path} does not exist; is this the right folder?") from None
    except (
        ValueError,
        RecursionError,
    ) as error:  # also bytes that are no UTF-8, and numbers of 5,000 digits
        raise UserError(f"{path}: not valid JSON ({error})") from None


def read_json_object(path: Path) -> dict[str, Any]:
    """Reads a JSON file that holds an object.

    Raises:
        UserError: as `read_json`, and if it holds anything else.
    """
    value = read_json(path)
    if not isinstance(value, dict):
        raise UserError(f"{path}: expected a JSON object, found {type(value).__name__}")
    return value


def write_table(path: Path, table: pa.Table, *, compression: Literal["zstd"] | None) -> None:
    """Writes one Arrow file, atomically. Leave uncompressed what is to be mapped without a copy."""
    options = ipc.IpcWriteOptions(compression=compression)

    def write(file: BinaryIO) -> None:
        with ipc.new_file(file, table.schema, options=options) as writer:
            writer.write_table(table)

    write_atomically(path, write)


def read_file(path: Path, columns: list[str] | None = None) -> pa.Table:
    """Maps one Arrow file into memory; nothing is copied until it is used.

    Args:
        path: the file.
        columns: those to read; all by default.

    Raises:
        UserError: if the file is no readable Arrow file, or lacks a column.
    """
    try:
        return _read(path, pa.memory_map(str(path)), columns)
    except (pa.ArrowInvalid, OSError) as error:
        raise _unreadable(path, error) from None


def map_file(path: Path) -> pa.Table:
    """Maps one Arrow file of which only a few rows may ever be read (`toolkit.mapped`).

    `pa.memory_map` starts reading all of it as soon as it is opened.

    Raises:
        UserError: if the file is no readable Arrow file.
    """
    from toolkit.mapped import map_bytes  # here: it needs torch, and prep's commands start without

    try:
        return _read(path, pa.BufferReader(pa.py_buffer(map_bytes(path).numpy())))
    except (pa.ArrowInvalid, OSError, RuntimeError) as error:
        raise _unreadable(path, error) from None


def _read(path: Path, source: pa.NativeFile, columns: list[str] | None = None) -> pa.Table:
    file = ipc.open_file(source)
    names = file.schema.names
    absent = [name for name in columns or () if name not in names]
    if absent:
        raise UserError(
            f"{path}: column {absent[0]!r} is absent (found: {', '.join(names)}); "
            "write the table again with prep"
        )
    if columns is not None:
        chosen = ipc.IpcReadOptions(included_fields=[names.index(name) for name in columns])
        file = ipc.open_file(source, options=chosen)
    return file.read_all()


def _unreadable(path: Path, error: Exception) -> UserError:
    return UserError(f"{path}: not a readable Arrow file ({error}); delete it and run prep again")


def tables_in(folder: Path) -> list[str]:
    """Names of the tables within a folder that have a shard."""
    return sorted(path.name for path in folder.glob("*") if any(path.glob(SHARDS)))


class Table:
    """A folder of Arrow shards, `part-00000.arrow` onwards.

    Args:
        folder: where the shards lie; created at the first append.
        compression: of the shards that `append` writes.
    """

    def __init__(self, folder: Path, *, compression: Literal["zstd"] | None = "zstd") -> None:
        self.folder = Path(folder)
        self.compression: Literal["zstd"] | None = compression

    def __repr__(self) -> str:
        return f"Table({str(self.folder)!r}, shards={len(self.shards())})"

    def shards(self) -> list[Shard]:
        """The shards in order; temporary files are none of them."""
        paths = sorted(self.folder.glob(SHARDS))
        return [Shard(int(path.stem.removeprefix("part-")), path) for path in paths]

    def next_index(self) -> int:
        """The index that the next `append` will use."""
        shards = self.shards()
        return shards[-1].index + 1 if shards else 0

    def append(self, table: pa.Table) -> int:
        """Writes `table` as a new shard and returns its index."""
        index = self.next_index()
        self.replace(index, table)
        return index

    def replace(self, index: int, table: pa.Table) -> None:
        """Writes `table` in the place of shard `index`, at once."""
        path = self.folder / f"part-{index:05d}.arrow"
        write_table(path, table, compression=self.compression)

    def exists(self) -> bool:
        """Whether there is at least one shard."""
        return bool(self.shards())

    def schema(self) -> pa.Schema:
        """Schema and metadata of the first shard, by which `read` judges the others.

        Raises:
            UserError: if there is no shard, or it is not readable.
        """
        return read_file(self._some_shards()[0].path).schema

    def batches(self, columns: list[str]) -> Iterator[pa.RecordBatch]:
        """Some columns of all shards, one shard after the other; nothing else is read.

        Raises:
            UserError: if there is no shard, one is not readable, or lacks a column.
        """
        for shard in self._some_shards():
            yield from read_file(shard.path, columns).select(columns).to_batches()

    def read(self, read: Callable[[Path], pa.Table] = read_file) -> pa.Table:
        """All shards as one memory-mapped table, metadata of the first shard included.

        Args:
            read: `read_file`, or `map_file` for a table of which a few rows are read.

        Raises:
            UserError: if there is no shard, or shards disagree in schema or metadata.
        """
        shards = self._some_shards()
        tables = [read(shard.path) for shard in shards]
        first = tables[0].schema
        for shard, table in zip(shards, tables, strict=True):
            if not table.schema.equals(first, check_metadata=True):
                raise UserError(
                    f"{shard.path}: its schema or metadata differ from those of {shards[0].path.name} "
                    f"({_difference(table.schema, first)}); the shards come from different "
                    "configurations: delete the folder and run prep again"
                )
        return pa.concat_tables(tables)

    def _some_shards(self) -> list[Shard]:
        shards = self.shards()
        if not shards:
            raise UserError(f"{self.folder}: no such table; run the prep step that writes it")
        return shards


def _difference(found: pa.Schema, first: pa.Schema) -> str:
    """The first key of two schemas' metadata, or column, that differs, in words."""
    said, expected = found.metadata or {}, first.metadata or {}
    for key in sorted({*said, *expected}):
        if said.get(key) != expected.get(key):
            there, here = (about.get(key, b"absent").decode() for about in (said, expected))
            return f"{key.decode()} {there}, and there {here}"
    names = [[f"{field.name}: {field.type}" for field in one] for one in (found, first)]
    return f"columns {', '.join(names[0])}, and there {', '.join(names[1])}"
