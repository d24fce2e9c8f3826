"""Sharded Arrow tables on disk; every shard is written atomically.

Shards have the Arrow IPC *file* format and are memory-mapped; `pyarrow.dataset`, `datasets` and pandas can open them
directly. This module does not depend on the meaning of a table.
"""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Literal

import numpy as np
import pyarrow as pa
import pyarrow.ipc as ipc

from toolkit.atomic import write_atomically
from toolkit.checksums import HashingFile, note, shard_index
from toolkit.errors import UserError


@dataclass(frozen=True)
class Shard:
    """A file of a table and its index."""

    index: int
    path: Path


def write_table(path: Path, table: pa.Table, *, compression: Literal["zstd"] | None) -> None:
    """Writes an Arrow file atomically. Only uncompressed files can be mapped without a copy.

    The checksum of a dataset's shard is written to the notes (`toolkit.checksums`).
    """
    options = ipc.IpcWriteOptions(compression=compression)

    def write(file: BinaryIO) -> None:
        hashing = HashingFile(file)
        with ipc.new_file(hashing, table.schema, options=options) as writer:
            writer.write_table(table)
        note(path, hashing.checksum)

    write_atomically(path, write)


def remove_shard(path: Path) -> None:
    """Removes a file of a dataset, and notes the removal."""
    note(path, None)
    path.unlink()


def read_file(path: Path, columns: list[str] | None = None) -> pa.Table:
    """Maps an Arrow file into memory; data are read at first access.

    Offsets and texts are validated first, so that a damaged file is refused instead of crashing the process.

    Args:
        path: the file.
        columns: columns to read; by default all.

    Raises:
        UserError: if the file is not a readable Arrow file, or lacks a column.
    """
    with translated(path):
        table = _read(path, pa.memory_map(str(path)), columns)
        for column in table.columns:
            for chunk in column.chunks:
                _validate(chunk)
    return table


def read_schema(path: Path) -> pa.Schema:
    """The schema and metadata of an Arrow file, without reading its data.

    Raises:
        UserError: if the file is not a readable Arrow file.
    """
    with translated(path):
        return ipc.open_file(pa.memory_map(str(path))).schema


def map_file(path: Path) -> pa.Table:
    """Maps an Arrow file of which only a few rows are read (`toolkit.mapped`).

    `pa.memory_map` would start to read the whole file. Only metadata are validated; offsets of texts are not, so
    callers must not read text columns.

    Raises:
        UserError: if the file is not a readable Arrow file.
    """
    from toolkit.mapped import (
        map_bytes,
    )  # imported here: it needs torch, but prep's commands do not

    with translated(path):
        table = _read(path, pa.BufferReader(pa.py_buffer(map_bytes(path).numpy())))
        table.validate()
    return table


def _read(path: Path, source: pa.NativeFile, columns: list[str] | None = None) -> pa.Table:
    file = ipc.open_file(source)
    names = file.schema.names
    absent = [name for name in columns or () if name not in names]
    if absent:
        raise UserError(
            f"{path}: column {absent[0]!r} is missing (found: {', '.join(names)}); "
            "write the table again with prep"
        )
    if columns is not None:
        options = ipc.IpcReadOptions(included_fields=[names.index(name) for name in columns])
        file = ipc.open_file(source, options=options)
    return file.read_all()


def _validate(values: pa.Array) -> None:
    """As `validate(full=True)`, but several times as fast for numbers and ASCII texts.

    Raises:
        pa.ArrowInvalid: if an offset is invalid, or a text is not UTF-8.
    """
    values.validate()  # checks sizes of buffers, and the first and last offset
    numbers = pa.types.is_integer(values.type) or pa.types.is_floating(values.type)
    if not numbers and not _is_ascii(values):
        values.validate(full=True)


def _is_ascii(values: pa.Array) -> bool:
    """Whether the values are ASCII texts without nulls and with ascending offsets."""
    _, offsets, text = values.buffers()[:3] if pa.types.is_string(values.type) else (None,) * 3
    if offsets is None or text is None or values.null_count:
        return False
    bounds = np.frombuffer(offsets, np.int32)[values.offset : values.offset + len(values) + 1]
    if not (bounds[1:] >= bounds[:-1]).all():
        return False
    return bool((np.frombuffer(text, np.int8)[bounds[0] : bounds[-1]] >= 0).all())


@contextlib.contextmanager
def translated(path: Path) -> Iterator[None]:
    """Translates exceptions of pyarrow and torch for a broken or unreadable Arrow file into a one-line error.

    Raises:
        UserError: with the file and advice.
    """
    try:
        yield
    except UserError:
        raise
    except OSError as error:
        if error.errno is None:  # raised by pyarrow: the file ends too early
            raise _unreadable(path, error) from None
        raise _refused(path, error) from None
    except MemoryError as error:
        raise UserError(
            f"{path}: not a readable Arrow file, or larger than this machine's memory ({error}); if memory is "
            "sufficient, delete the file and run prep again"
        ) from None
    except _BROKEN as error:
        raise _unreadable(path, error) from None


# Besides its own exceptions, pyarrow raises these if a file's numbers, names or offsets are damaged.
_BROKEN = (
    pa.ArrowException,
    ArithmeticError,
    BufferError,
    LookupError,
    RuntimeError,
    SystemError,
    TypeError,
    ValueError,
)


def _unreadable(path: Path, error: Exception) -> UserError:
    reason = " ".join(str(error).split()) or type(error).__name__
    return UserError(
        f"{path}: not a readable Arrow file ({reason:.200}); delete it and run prep again"
    )


def _refused(path: Path, error: OSError) -> UserError:
    """The error for a file that the operating system refuses to read; its content may be intact."""
    if isinstance(error, PermissionError):
        return UserError(f"{path}: no read permission ({error.strerror}); change its permissions")
    if isinstance(error, FileNotFoundError):
        return UserError(
            f"{path}: not a readable Arrow file ({error.strerror}); run the prep step that writes it"
        )
    if isinstance(error, IsADirectoryError):
        return UserError(f"{path} is a folder, expected an Arrow file; remove it")
    return UserError(f"{path} cannot be read now ({error.strerror or error}); try again")


def tables_in(folder: Path) -> list[str]:
    """Names of the tables in a folder that have a shard."""
    return sorted(path.name for path in folder.glob("*") if Table(path).exists())


class Table:
    """A folder of Arrow shards, `part-00000.arrow` onwards.

    Args:
        folder: folder of the shards; created at the first append.
        compression: compression of the shards that `append` writes.
        refuse: raises a UserError if the existing shards are not those that were written.
    """

    def __init__(
        self,
        folder: Path,
        *,
        compression: Literal["zstd"] | None = "zstd",
        refuse: Callable[[Sequence[Path]], None] | None = None,
    ) -> None:
        self.folder = Path(folder)
        self.compression: Literal["zstd"] | None = compression
        self._refuse = refuse

    def __repr__(self) -> str:
        return f"Table({str(self.folder)!r}, shards={len(self.shards())})"

    def shards(self) -> list[Shard]:
        """The shards sorted by index, without temporary files."""
        return [Shard(*shard) for shard in sorted(self._numbered())]

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
        """Replaces shard `index` by `table` atomically."""
        path = self.folder / f"part-{index:05d}.arrow"
        write_table(path, table, compression=self.compression)

    def exists(self) -> bool:
        """Whether there is at least one shard."""
        return any(True for _ in self._numbered())

    def schema(self) -> pa.Schema:
        """Schema and metadata of the first shard, which all other shards must share.

        Raises:
            UserError: if there is no shard, or it is not readable.
        """
        return read_schema(self._some_shards()[0].path)

    def batches(self, columns: list[str]) -> Iterator[pa.RecordBatch]:
        """Yields the given columns of all shards in order, without reading other columns.

        Raises:
            UserError: if there is no shard, or a shard is not readable or lacks a column.
        """
        for shard in self._whole_shards():
            yield from read_file(shard.path, columns).select(columns).to_batches()

    def read(self, read: Callable[[Path], pa.Table] = read_file) -> pa.Table:
        """All shards as one memory-mapped table with the metadata of the first shard.

        Args:
            read: `read_file`, or `map_file` for a table of which only a few rows are read.

        Raises:
            UserError: if there is no shard, a shard is not readable, or schemas or metadata differ.
        """
        return pa.concat_tables([table for _, table in self.tables(read)])

    def tables(
        self, read: Callable[[Path], pa.Table] = read_file
    ) -> Iterator[tuple[Shard, pa.Table]]:
        """Yields each shard and its table, in order; see `read`."""
        shards = self._whole_shards()
        first: pa.Schema | None = None
        for shard in shards:
            table = read(shard.path)
            first = table.schema if first is None else first
            if not table.schema.equals(first, check_metadata=True):
                raise UserError(
                    f"{shard.path}: its schema or metadata differ from those of {shards[0].path.name} "
                    f"({_difference(table.schema, first)}), because the shards come from different "
                    "configurations; delete the folder and run prep again"
                )
            yield shard, table

    def _numbered(self) -> Iterator[tuple[int, Path]]:
        for path in self.folder.glob("part-*.arrow"):
            index = shard_index(path)
            if index is not None:
                yield index, path

    def _whole_shards(self) -> list[Shard]:
        shards = self._some_shards()
        if self._refuse:
            self._refuse([shard.path for shard in shards])
        return shards

    def _some_shards(self) -> list[Shard]:
        shards = self.shards()
        if not shards:
            raise UserError(f"{self.folder}: no such table; run the prep step that writes it")
        return shards


def _difference(found: pa.Schema, first: pa.Schema) -> str:
    """Describes the first metadata key of two schemas that differs, or their columns."""
    actual, expected = found.metadata or {}, first.metadata or {}
    for key in sorted({*actual, *expected}):
        if actual.get(key) != expected.get(key):
            here, there = (_text(metadata.get(key, b"absent")) for metadata in (actual, expected))
            return f"{_text(key)} {here}, expected {there}"
    names = [[f"{field.name}: {field.type}" for field in schema] for schema in (found, first)]
    return f"columns {', '.join(names[0])}, expected {', '.join(names[1])}"


def _text(metadata: bytes) -> str:
    return metadata.decode(errors="backslashreplace")
