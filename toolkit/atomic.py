"""A file that is written is whole or absent, whatever is killed meanwhile."""

import errno
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from toolkit.errors import UserError

_NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


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
