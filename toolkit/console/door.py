"""The door through which a command leaves the process: one line and an exit status, whatever happened."""

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


# What to do about what the system refuses.
_ROOM = "make room, and run the same command again"


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


# These concern the machine, so they are the user's to mend even where no path is named.
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

    2 where the user can mend something, which is told on one line; 130 after Ctrl-C; 141, as of any program whose
    pipe was closed, where nobody reads on (`… | head`). What is our own fault stays a traceback, with status 1.

    Args:
        main: returns the exit status; None is 0.
        interrupted: what to do after Ctrl-C.
    """
    try:
        started()
        status = main() or 0
        if sys.stdout is not None:  # closed by the caller: nobody asked for words
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
    """Whether Ctrl-C is behind an error: a library that is interrupted while it is imported raises what it likes."""
    while error is not None:
        if isinstance(error, KeyboardInterrupt):
            return True
        error = error.__cause__ or error.__context__
    return False


def _refusal(error: Exception) -> str:
    """What the system refuses, in words; what it is not known to refuse a user is raised again."""
    if isinstance(error, RuntimeError) and "home directory" in str(error):  # of `pathlib`
        return f"this user has no home folder ({error}); set HOME to a folder that you may write"
    if not isinstance(error, OSError) or error.errno is None:
        raise error
    told = error.strerror or str(error)
    advice = _ADVICE.get(error.errno, "mend this, and run the same command again")
    if error.filename is not None:
        return " ".join(f"{_text_of(error.filename)}: {told}; {advice}".split())
    if error.errno not in _OF_THE_MACHINE:
        raise error
    if _stdout_fails():
        _leave_stdout()
        return f"what was found cannot be printed: {told}; make room, or print elsewhere"
    return f"{told}; {advice}"


def _text_of(path: object) -> str:
    return os.fsdecode(path) if isinstance(path, bytes) else str(path)


def _stdout_fails() -> bool:
    """Whether it is stdout that has no room: a file on a full disk, or the device that is always full."""
    try:
        descriptor = sys.stdout.fileno()
        mode = os.fstat(descriptor).st_mode
        if stat.S_ISCHR(mode):
            return not sys.stdout.isatty() and not os.path.samestat(
                os.fstat(descriptor), Path(os.devnull).stat()
            )
        return stat.S_ISREG(mode) and os.fstatvfs(descriptor).f_bavail == 0
    except (AttributeError, OSError, ValueError):  # there is none, or it is no file
        return False


def _leave_stdout() -> None:
    """Lets the interpreter write what it still holds nowhere, rather than fail once more at its end."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _fail(message: str) -> int:
    number = os.environ.get("RANK", "0")  # of one process of several, all of which may say the same
    lead = "error:" if number == "0" else f"error in process {number}:"
    print(f"{painted(lead, 'red', sys.stderr)} {message}", file=sys.stderr)
    return 2
