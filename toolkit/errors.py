"""The one exception for a user's mistake, and the door through which it leaves the process."""

import os
import sys
from collections.abc import Callable


class UserError(ValueError):
    """Something the user can mend: the message says what, where, and what to do.

    Command lines print it on one line and exit with status 2; Python callers catch a `ValueError`.
    """


def run_command(main: Callable[[], int | None]) -> None:
    """Runs a command line's `main`, turning `UserError` into one line on stderr and exit status 2."""
    try:
        sys.exit(main() or 0)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    except BrokenPipeError:  # whoever read our output has seen enough (`… | head`)
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except KeyboardInterrupt:
        print(
            "interrupted; finished shards are kept, run the command again to go on", file=sys.stderr
        )
        sys.exit(130)
