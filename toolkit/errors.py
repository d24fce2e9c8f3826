"""The one exception for a user's mistake, and the door through which it leaves the process."""

import errno
import os
import sys
from collections.abc import Callable

from toolkit.colours import painted

_NOBODY_READS = 128 + 13  # as shells call a program that SIGPIPE ended

# What the system refuses because of a path that the user gave, and what to do. A file that is not there is no such
# thing: those that a user gives are looked for where they are read.
_OF_PATHS: dict[type[OSError], str] = {
    PermissionError: "choose a place that you may read and write",
    NotADirectoryError: "a part of this path is a file; choose another",
    IsADirectoryError: "give the name of a file",
    FileExistsError: "choose another name, or remove what is there",
}


class UserError(ValueError):
    """Something the user can mend: the message says what, where, and what to do.

    Command lines print it on one line and exit with status 2; Python callers catch a `ValueError`.
    """


def run_command(
    main: Callable[[], int | None], *, interrupted: str = "run the command again"
) -> None:
    """Runs a command line's `main` and ends the process with its exit status.

    2 where the user can mend something, which is told on one line; 130 after Ctrl-C; 141, as of any program whose
    pipe was closed, where nobody reads on (`… | head`). What is our own fault stays a traceback, with status 1.

    Args:
        main: returns the exit status; None is 0.
        interrupted: what to do after Ctrl-C.
    """
    try:
        status = main() or 0
        if sys.stdout is not None:  # closed by the caller: nobody asked for words
            sys.stdout.flush()
    except UserError as error:
        status = _fail(str(error))
    except BrokenPipeError:
        _leave_stdout()
        status = _NOBODY_READS
    except OSError as error:
        status = _fail(_refusal(error))
    except KeyboardInterrupt:
        print(f"\n{painted('interrupted', 'yellow', sys.stderr)}; {interrupted}", file=sys.stderr)
        status = 130
    sys.exit(status)


def _refusal(error: OSError) -> str:
    """What the system refuses, in words; what it is not known to refuse a user is raised again."""
    if error.filename is None and error.errno == errno.ENOSPC:
        _leave_stdout()
        return f"what was found cannot be printed: {error.strerror}; make room, or print elsewhere"
    if error.filename is None or type(error) not in _OF_PATHS:
        raise error
    return f"{error.filename}: {error.strerror}; {_OF_PATHS[type(error)]}"


def _leave_stdout() -> None:
    """Lets the interpreter write what it still holds nowhere, rather than fail once more at its end."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _fail(message: str) -> int:
    number = os.environ.get("RANK", "0")  # of one process of several, all of which may say the same
    lead = "error:" if number == "0" else f"error in process {number}:"
    print(f"{painted(lead, 'red', sys.stderr)} {message}", file=sys.stderr)
    return 2
