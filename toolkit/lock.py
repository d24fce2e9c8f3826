"""Locks for writing: the writer of a folder holds its lock, and a second writer is refused with a one-line message.

The lock belongs to the operating system (`flock`, through filelock), so it ends with its process, even if that is
killed. On a network file system it works between machines only if the server supports `flock`, as NFS since version 4
and most cluster file systems do. Without `flock`, filelock falls back to lock files, which a killed process on another
machine leaves behind.
"""

import contextlib
import json
import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path

from filelock import FileLock, Timeout

from toolkit.errors import UserError

LOCKS = ".locks"  # subfolder of the lock files


@contextlib.contextmanager
def locked(folder: Path, name: str, *, wait_seconds: float = 0.0) -> Iterator[None]:
    """Holds the lock `name` of a folder within the `with` block.

    Locks with different names are independent. Lock files are never removed, because removing a file that another
    process is about to open would admit two writers.

    Args:
        folder: folder to write, created if it does not exist.
        name: part of the folder to write, such as a step of prep; must be a file name.
        wait_seconds: how long to wait for another writer; by default not at all.

    Raises:
        UserError: if another process holds the lock, with the process, its machine and its start time.
    """
    path = folder / LOCKS / f"{name}.lock"
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(path, thread_local=False)
    try:
        lock.acquire(timeout=wait_seconds)
    except Timeout:
        raise UserError(
            f"{folder}: {name} is being written by {_holder(path)}; wait until it ends, or stop it, and run the "
            "command again"
        ) from None
    try:
        _record_holder(path)
        yield
    finally:
        lock.release()


def _record_holder(path: Path) -> None:
    """Records the holder of a lock for the messages of other processes, which may read a partial or missing record."""
    holder = {
        "process": os.getpid(),
        "host": socket.gethostname(),
        "since": time.strftime("%Y-%m-%d %H:%M:%S"),
    }
    # The lock works without the record: on a full disk, messages name "another process".
    with contextlib.suppress(OSError):
        path.with_suffix(".json").write_text(json.dumps(holder), encoding="utf-8")


def _holder(path: Path) -> str:
    try:
        holder = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
        return f"process {holder['process']} on {holder['host']} since {holder['since']}"
    except (OSError, ValueError, TypeError, KeyError):  # the holder has not written it yet
        return "another process"
