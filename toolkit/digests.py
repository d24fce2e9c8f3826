"""SHA-256 of files, to detect damage and to recognise files that were read before."""

import contextlib
import hashlib
import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from toolkit.cache import cache_folder
from toolkit.errors import UserError
from toolkit.json_files import write_json

_REMEMBERED = "digests"
_SETTLED_SECONDS = 2.0  # a younger file may change again within the resolution of its timestamp


def sha256_of(path: Path) -> str:
    """SHA-256 of a file in hexadecimal digits, read in blocks."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def remembered_sha256_of(path: Path) -> str:
    """`sha256_of` a large file, cached in the user's cache by path, size and modification time.

    A file with unchanged size and time is not read again. Do not use this function to detect damage on a disk, which
    changes neither.
    """
    return remembered(path, "sha256", lambda file: sha256_of(file))


def remembered(path: Path, name: str, compute: Callable[[Path], str]) -> str:
    """The result of `compute` for a file, cached in the user's cache by path, size and modification time.

    Args:
        path: the file.
        name: name of the result; part of a file name.
        compute: function of the file.
    """
    path = path.resolve()
    memory = _memory_of(path, name)
    identity = _identity(path)
    try:
        known = json.loads(memory.read_text(encoding="utf-8")) if memory else {}
        if known["identity"] == identity:
            return str(known[name])
    except (OSError, ValueError, TypeError, KeyError):
        known = None  # no cache entry, or not written by this function: read the file
    value = compute(path)
    settled = time.time() - path.stat().st_mtime > _SETTLED_SECONDS
    if memory and settled and _identity(path) == identity:
        _remember(memory, {"identity": identity, name: value})
    return value


def _memory_of(path: Path, name: str) -> Path | None:
    """The file of the cache entry; None for a user without a cache."""
    file = hashlib.sha256(os.fsencode(path)).hexdigest()[:32]
    try:
        return cache_folder() / _REMEMBERED / f"{file}.{name}.json"
    except UserError:
        return None


def _identity(path: Path) -> list[Any]:
    status = path.stat()
    return [
        os.fsdecode(path),
        status.st_ino,
        status.st_size,
        status.st_mtime_ns,
        status.st_ctime_ns,
    ]


def _remember(memory: Path, value: dict[str, Any]) -> None:
    """Writes a cache entry; failures are ignored because they only cost time."""
    with contextlib.suppress(OSError, UserError):
        write_json(memory, value)
