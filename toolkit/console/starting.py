"""The start of a command, during its imports: no traceback then either, and no search for garbage.

Imports take seconds, and `toolkit.console.door.run_command` only begins once they are done. They make half a million objects
and no garbage, so that searching for it takes a fifth of their time. This module is imported first and stands on nothing.
"""

import gc
import os
import signal
import sys
import threading
from pathlib import Path
from types import FrameType

_SCRIPTS = "versa-"  # the names of our commands begin so


def guard() -> None:
    """Ends with one line on Ctrl-C or in a folder that was removed, if this process is one of our commands.

    Until `started`, Python does not search for garbage. In another program, which imports us as a library, it does nothing.
    """
    if not _begins_as_command():
        return
    gc.disable()
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _end)
    try:
        Path.cwd()
    except FileNotFoundError:
        os.write(2, b"error: the current folder does not exist any more; cd to one that does\n")
        os._exit(2)


def started() -> None:
    """Gives Ctrl-C back to Python, which `run_command` handles from here on, and searches for garbage again."""
    gc.enable()
    if signal.getsignal(signal.SIGINT) is _end:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def _begins_as_command() -> bool:
    # "-m" stands there until Python has found the module that it is to run.
    name = sys.argv[0] if sys.argv else ""
    is_ours = name == "-m" or Path(name).name.startswith(_SCRIPTS)
    # Processes that a command starts are given its name.
    helps = any(word.startswith("from multiprocessing") for word in sys.orig_argv)
    return is_ours and not helps and threading.current_thread() is threading.main_thread()


def _end(number: int, frame: FrameType | None) -> None:
    """Ends the process at once: a half-finished import could turn an exception into any other."""
    os.write(2, b"\ninterrupted; run the command again\n")
    os._exit(128 + number)
