"""Who may write what of a dataset, and what a killed writer left that may be removed.

Every step has a lock of its own, so that two towers can be encoded at once; `ingest` and `build` share one. Within
the root folder and `errors/`, which steps share, a step removes only temporary files of its own names: another
process may be writing the others at this moment.
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
    """Makes the caller the only writer of one part of a dataset for the length of the `with` block.

    A block within a block of the same part, in the same thread, goes on under the lock that is held already.

    Args:
        dataset: its folder, created if it is absent.
        part: a step's name, such as `encode:title`; `ingest` for everything that ingest writes.
        wait_seconds: how long to wait for another writer; by default not at all.

    Raises:
        UserError: if another process or thread writes it; it names that one.
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


def clear_temporary(folder: Path, name: str) -> None:
    """Removes the temporary files of `toolkit.atomic.write_atomically` for some files of a folder.

    Args:
        folder: where they lie.
        name: of the files that were to be written, a regular expression.
    """
    pattern = re.compile(rf"\.{name}\.\d+\.tmp")
    for path in folder.glob(".*.tmp"):
        if pattern.fullmatch(path.name) and not path.is_dir():
            path.unlink()


def clear_table(folder: Path, *, names: str = _SHARD) -> None:
    """Removes a table that this project wrote: its shards and their temporary files, then the empty folder.

    Args:
        folder: of the table; it may be absent.
        names: of its files, a regular expression.

    Raises:
        UserError: if the folder holds anything else, which is left alone with all the rest.
    """
    if not folder.is_dir():
        return
    refuse_foreign(folder, names=names)
    for path in list(folder.iterdir()):
        path.unlink()
    if not folder.is_symlink():  # of a folder that lies elsewhere, the user's link stays
        folder.rmdir()


def refuse_foreign(folder: Path, *, names: str = _SHARD) -> None:
    """Makes sure that a folder holds nothing but the files of a table.

    Args:
        folder: of the table; it may be absent.
        names: of its files, a regular expression.

    Raises:
        UserError: naming the first thing that this project did not write.
    """
    ours = re.compile(rf"{names}|\.{names}\.\d+\.tmp|\.part{re.escape(NOTES)}")
    for path in sorted(folder.iterdir() if folder.is_dir() else ()):
        if not ours.fullmatch(path.name) or path.is_dir():
            raise UserError(
                f"{folder} is to be written afresh, and holds {path.name}, which prep did not write; nothing was "
                "removed: move it away, or choose another folder for the dataset"
            )


def clear_scratch(folder: Path) -> None:
    """Removes a scratch folder, by the exact name that only its lock's holder uses; a link to one is not followed."""
    if folder.is_symlink():
        raise UserError(f"{folder} is a link, where prep keeps its own scratch files; remove it")
    if folder.exists():
        shutil.rmtree(folder)
