"""A folder that holds a complete synthetic dump or none, even if it is a mount point or the current folder.

The dump is written into a subfolder and moved up at the end, one file last.
"""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from toolkit.errors import UserError
from toolkit.lock import LOCKS, locked

_PARTIAL = ".partial"


@contextmanager
def new_folder(out: Path, *, last: str) -> Iterator[Path]:
    """Yields the folder to write into, and moves its content to `out` if the `with` block succeeds.

    Args:
        out: the folder of the dump, which must be empty or not exist; what an interrupted run left is removed.
        last: name of the file that is moved last.

    Raises:
        UserError: if `out` is a file or not empty, or another process is writing it.
    """
    _refuse_other_files(out)
    partial = out / _PARTIAL
    _refuse_foreign(partial)
    with locked(partial, "synth"):
        _clear(partial)
        yield partial
        _move_up(partial, partial / last)


def _refuse_other_files(out: Path) -> None:
    if out.exists() and not out.is_dir():
        raise UserError(f"{out} is a file; choose an empty or a new folder")
    if out.is_dir() and any(entry.name != _PARTIAL for entry in out.iterdir()):
        raise UserError(
            f"{out} is not empty, and a dump never overwrites other files; "
            "choose another folder or delete this one first"
        )


def _refuse_foreign(partial: Path) -> None:
    """Refuses a folder without our lock folder, which is therefore not from this command."""
    if partial.is_symlink() or (
        partial.is_dir() and any(partial.iterdir()) and not (partial / LOCKS).is_dir()
    ):
        raise UserError(
            f"{partial}: not created by this command; remove it, or choose another folder"
        )


def _clear(partial: Path) -> None:
    """Removes the files of an interrupted run."""
    for entry in list(partial.iterdir()):
        if entry.is_dir() and entry.name != LOCKS:
            shutil.rmtree(entry)
        elif not entry.is_dir():
            entry.unlink()


def _move_up(partial: Path, last: Path) -> None:
    for entry in [*sorted(set(partial.iterdir()) - {last, partial / LOCKS}), last]:
        entry.rename(partial.parent / entry.name)
    shutil.rmtree(partial)
