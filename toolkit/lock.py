"""One writer at a time: whoever writes a folder holds its lock, and a second writer is refused in one line.

The lock is the operating system's (`flock`, through filelock), so it ends with the process that holds it, however
that ends. On a network file system it holds between machines only if the server passes `flock` on: NFS since
version 4 and most cluster file systems do; where one has no `flock` at all, filelock falls back to a lock by
the existence of a file, which a killed process on another machine leaves behind.
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

LOCKS = ".locks"  # folder of the lock files, in the folder that is written


@contextlib.contextmanager
def locked(folder: Path, name: str, *, wait_seconds: float = 0.0) -> Iterator[None]:
    """Holds the lock `name` of a folder for the length of the `with` block.

    Locks of different names do not exclude one another. The lock files stay: removing one that another process is
    about to open would let two writers in.

    Args:
        folder: that is written; created if it is absent.
        name: what of it is written, such as a step of prep; a file name.
        wait_seconds: how long to wait for another writer to finish; by default not at all.

    Raises:
        UserError: if another process holds it; it names that process, its machine and since when.
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
    """Writes who holds a lock beside it, for the messages of others; a reader may find half of it, or none."""
    holder = {
        "process": os.getpid(),
        "host": socket.gethostname(),
        "since": time.strftime("%Y-%m-%d %H:%M:%S"),
    }
    # The lock holds without it: on a full disk, others hear of "another process".
    with contextlib.suppress(OSError):
        path.with_suffix(".json").write_text(json.dumps(holder), encoding="utf-8")


def _holder(path: Path) -> str:
    try:
        holder = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
        return f"process {holder['process']} on {holder['host']} since {holder['since']}"
    except (OSError, ValueError, TypeError, KeyError):  # the holder has not written it yet
        return "another process"
