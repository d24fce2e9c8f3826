"""The one exception for a user's mistake, and the door through which it leaves the process."""

import os
import signal
import sys
from collections.abc import Callable

from toolkit.colours import painted

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
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        status = 128 + signal.SIGPIPE
    except tuple(_OF_PATHS) as error:
        if error.filename is None:
            raise
        status = _fail(f"{error.filename}: {error.strerror}; {_OF_PATHS[type(error)]}")
    except KeyboardInterrupt:
        print(f"\n{painted('interrupted', 'yellow', sys.stderr)}; {interrupted}", file=sys.stderr)
        status = 130
    sys.exit(status)


def _fail(message: str) -> int:
    print(f"{painted('error:', 'red', sys.stderr)} {message}", file=sys.stderr)
    return 2
