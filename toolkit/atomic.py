"""Atomic writes: a file is either complete or absent, even if the process is killed."""

import errno
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from toolkit.errors import UserError

_NO_SPACE = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


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
        if error.errno not in _NO_SPACE:
            error.filename = error.filename and str(path)  # instead of the temporary file
            raise
        raise _no_space(path, error) from None


def _replace(path: Path, temporary: Path, write: Callable[[BinaryIO], object]) -> None:
    try:
        with temporary.open("wb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def _no_space(path: Path, error: OSError) -> UserError:
    parent = next(folder for folder in path.parents if folder.exists())
    free = shutil.disk_usage(parent).free
    return UserError(
        f"{path}: not enough disk space ({error.strerror}; {free / 2**20:,.1f} MiB are free in {parent}); "
        "the file was not written, finished files are kept: free space and run the same command again"
    )
