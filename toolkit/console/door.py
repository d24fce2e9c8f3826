"""How a command ends its process: with one line and an exit status, whatever happened."""

import errno
import os
import stat
import sys
from collections.abc import Callable
from pathlib import Path

from toolkit.console.colours import painted
from toolkit.console.starting import started
from toolkit.errors import UserError

_NOBODY_READS = 128 + 13  # as shells call a program that SIGPIPE ended


# What the user can do about an error of the system.
_ROOM = "free some space, and run the same command again"


_BROKEN = "the disk or the network behind it fails; run the same command again once it works"


_ADVICE = {
    errno.EACCES: "choose a place that you may read and write",
    errno.EPERM: "choose a place that you may read and write",
    errno.ENOTDIR: "a part of this path is a file; choose another",
    errno.EISDIR: "give the name of a file",
    errno.EEXIST: "choose another name, or remove what is there",
    errno.ENOENT: "is this the right path?",
    errno.ELOOP: "links that lead in a circle; remove them",
    errno.ENAMETOOLONG: "choose a shorter name",
    errno.EROFS: "choose a place that can be written",
    errno.EMFILE: "allow this user more open files (ulimit -n), and run the same command again",
    errno.ENFILE: "close other programs, and run the same command again",
    errno.ENOMEM: "free some memory, and run the same command again",
    errno.ENOSPC: _ROOM,
    errno.EDQUOT: _ROOM,
    errno.EFBIG: _ROOM,
    errno.EIO: _BROKEN,
    errno.ESTALE: _BROKEN,
    errno.ETIMEDOUT: _BROKEN,
    errno.ETXTBSY: "a program that runs uses it; end that first",
    errno.EBUSY: "another program uses it; end that first",
}


# These concern the machine, so the user can fix them even if no path is named.
_OF_THE_MACHINE = {
    errno.ENOSPC,
    errno.EDQUOT,
    errno.EFBIG,
    errno.EIO,
    errno.EROFS,
    errno.ESTALE,
    errno.EMFILE,
    errno.ENFILE,
    errno.ENOMEM,
}


def run_command(
    main: Callable[[], int | None], *, interrupted: str = "run the command again"
) -> None:
    """Runs a command line's `main` and ends the process with its exit status.

    The status is 2 after a mistake that the user can fix, which is reported on one line; 130 after Ctrl-C; and 141,
    as for any program whose pipe was closed, if nobody reads the output (`… | head`). A bug of ours stays a
    traceback, with status 1.

    Args:
        main: returns the exit status; None is 0.
        interrupted: what the user can do after Ctrl-C.
    """
    try:
        started()
        status = main() or 0
        if sys.stdout is not None:  # None if the caller closed it
            sys.stdout.flush()
    except UserError as error:
        status = _fail(str(error))
    except BrokenPipeError:
        _leave_stdout()
        status = _NOBODY_READS
    except KeyboardInterrupt:
        status = _interrupted(interrupted)
    except Exception as error:
        stopped = _came_of_interrupt(error)
        status = _interrupted(interrupted) if stopped else _fail(_refusal(error))
    sys.exit(status)


def _interrupted(advice: str) -> int:
    print(f"\n{painted('interrupted', 'yellow', sys.stderr)}; {advice}", file=sys.stderr)
    return 130


def _came_of_interrupt(error: BaseException | None) -> bool:
    """Whether Ctrl-C caused an error: a library that is interrupted during its import may raise anything."""
    while error is not None:
        if isinstance(error, KeyboardInterrupt):
            return True
        error = error.__cause__ or error.__context__
    return False


def _refusal(error: Exception) -> str:
    """The message for an error of the system; any other error is raised again."""
    if isinstance(error, RuntimeError) and "home directory" in str(error):  # of `pathlib`
        return f"this user has no home folder ({error}); set HOME to a folder that you may write"
    if not isinstance(error, OSError) or error.errno is None:
        raise error
    reason = error.strerror or str(error)
    advice = _ADVICE.get(error.errno, "fix this, and run the same command again")
    if error.filename is not None:
        return " ".join(f"{_text_of(error.filename)}: {reason}; {advice}".split())
    if error.errno not in _OF_THE_MACHINE:
        raise error
    if _stdout_fails():
        _leave_stdout()
        return f"the output cannot be printed: {reason}; free some space, or print elsewhere"
    return f"{reason}; {advice}"


def _text_of(path: object) -> str:
    return os.fsdecode(path) if isinstance(path, bytes) else str(path)


def _stdout_fails() -> bool:
    """Whether stdout is full: a file on a full disk, or /dev/full."""
    try:
        descriptor = sys.stdout.fileno()
        mode = os.fstat(descriptor).st_mode
        if stat.S_ISCHR(mode):
            return not sys.stdout.isatty() and not os.path.samestat(
                os.fstat(descriptor), Path(os.devnull).stat()
            )
        return stat.S_ISREG(mode) and os.fstatvfs(descriptor).f_bavail == 0
    except (AttributeError, OSError, ValueError):  # no stdout, or no file
        return False


def _leave_stdout() -> None:
    """Discards what the interpreter still buffers, which would fail once more at its end."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _fail(message: str) -> int:
    number = os.environ.get("RANK", "0")  # of this process: several may report the same error
    lead = "error:" if number == "0" else f"error in process {number}:"
    print(f"{painted(lead, 'red', sys.stderr)} {message}", file=sys.stderr)
    return 2
