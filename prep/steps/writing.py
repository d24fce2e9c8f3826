"""Locks for writing parts of a dataset, and removal of files that a killed writer left behind.

Every step has its own lock, so that two towers can be encoded in parallel; `ingest` and `build` share one. In the root
folder and in `errors/`, which steps share, a step removes only its own temporary files, because another process may be
writing the others.
"""

import contextlib
import re
import shutil
from collections.abc import Iterator
from contextvars import ContextVar
from pathlib import Path

from toolkit.checksums import NOTES
from toolkit.errors import UserError
from toolkit.lock import locked

_HELD: ContextVar[frozenset[tuple[Path, str]]] = ContextVar("_HELD", default=frozenset())

_SHARD = r"part-\d{5,}\.arrow"


@contextlib.contextmanager
def writing(dataset: Path, part: str, *, wait_seconds: float = 0.0) -> Iterator[None]:
    """Makes the caller the only writer of one part of a dataset within the `with` block.

    A nested block for the same part, in the same thread, reuses the lock.

    Args:
        dataset: dataset folder, created if it does not exist.
        part: name of a step, such as `encode:title`; `ingest` for everything that ingest writes.
        wait_seconds: how long to wait for another writer; by default not at all.

    Raises:
        UserError: if another process or thread is writing the part, with its name.
    """
    key = (dataset.resolve(), part)
    if key in _HELD.get():
        yield
        return
    with locked(dataset, part.replace(":", "-"), wait_seconds=wait_seconds):
        held = _HELD.set(_HELD.get() | {key})
        try:
            yield
        finally:
            _HELD.reset(held)


def refuse_one_folder(dump: Path, dataset: Path) -> None:
    """Refuses to write a dataset into the folder of its dump.

    Raises:
        UserError: if dump and dataset are the same folder.
    """
    if dump.is_dir() and dataset.is_dir() and dump.samefile(dataset):
        raise UserError(f"{dump} is the dump itself; choose another folder for the dataset")


def clear_temporary(folder: Path, name: str) -> None:
    """Removes temporary files of `toolkit.atomic.write_atomically` in a folder.

    Args:
        folder: folder of the files.
        name: regular expression for the names of the final files.
    """
    pattern = re.compile(rf"\.{name}\.\d+\.tmp")
    for path in folder.glob(".*.tmp"):
        if pattern.fullmatch(path.name) and not path.is_dir():
            path.unlink()


def clear_table(folder: Path, *, names: str = _SHARD) -> None:
    """Removes a table that this project wrote: its shards and their temporary files, then the empty folder.

    Args:
        folder: folder of the table, which may not exist.
        names: regular expression for the names of its files.

    Raises:
        UserError: if the folder holds any other file; then nothing is removed.
    """
    if not folder.is_dir():
        return
    refuse_foreign(folder, names=names)
    for path in list(folder.iterdir()):
        path.unlink()
    if not folder.is_symlink():  # keep the user's link to a folder elsewhere
        folder.rmdir()


def refuse_foreign(folder: Path, *, names: str = _SHARD) -> None:
    """Refuses a folder that holds anything except the files of a table.

    Args:
        folder: folder of the table, which may not exist.
        names: regular expression for the names of its files.

    Raises:
        UserError: with the first file that this project did not write.
    """
    ours = re.compile(rf"{names}|\.{names}\.\d+\.tmp|\.part{re.escape(NOTES)}")
    for path in sorted(folder.iterdir() if folder.is_dir() else ()):
        if not ours.fullmatch(path.name) or path.is_dir():
            raise UserError(
                f"{folder} must be rewritten but holds {path.name}, which prep did not write; nothing was "
                "removed: move this file away, or choose another folder for the dataset"
            )


def clear_scratch(folder: Path) -> None:
    """Removes a scratch folder, which only the holder of its lock uses; does not follow a link."""
    if folder.is_symlink():
        raise UserError(f"{folder} is a link, expected prep's own scratch folder; remove the link")
    if folder.exists():
        shutil.rmtree(folder)
