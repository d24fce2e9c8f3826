"""Functions that hang, crash and leak, for the watchdog; in a module, so that a process can import them."""

import ctypes
import os
import re
import sys
import time
from pathlib import Path

from prep.steps.problems import ItemProblem
from toolkit import UserError

LEAKED: list[bytes] = []


def imported(*names: str) -> list[str]:
    """Which of these modules this process has imported."""
    return [name for name in names if name in sys.modules]


def double(value: int) -> int:
    return 2 * value


def sleep(seconds: float) -> str:
    time.sleep(seconds)
    return "awake"


def spin_with_the_lock(_: int) -> None:
    """Never ends, and never gives up the interpreter's lock: no signal handler or thread runs."""
    re.match(r"(a+)+$", "a" * 64 + "b")


def crash(_: int) -> None:
    ctypes.string_at(0)  # a segmentation fault


def quit_quietly(code: int) -> None:
    os._exit(code)


def fail(kind: str) -> None:
    if kind == "item":
        raise ItemProblem("truncated", "half of it")
    if kind == "user":
        raise UserError("not installed")
    raise KeyError(kind)


def leak(count_bytes: int) -> int:
    LEAKED.append(b"x" * count_bytes)
    return sum(map(len, LEAKED))


def process_id(_: int) -> int:
    return os.getpid()


def spin_beside(path: str) -> None:
    """Writes its process id, then spins."""
    Path(path).write_text(str(os.getpid()))
    spin_with_the_lock(0)


def prepare_slowly() -> None:
    time.sleep(0.5)
    LEAKED.append(b"prepared")


def what_was_prepared(_: int) -> list[bytes]:
    return LEAKED


def read_slowly(path: Path, **options: object) -> dict[str, object]:
    """Reads a picture, unless its name says how it goes wrong."""
    if path.name.startswith("slow"):
        spin_with_the_lock(0)
    if path.name.startswith("crash"):
        crash(0)
    return {"status": "ok", "frame": path.read_bytes()}
