"""What the help of all commands has in common: layout, examples, and the nearest word for a misspelt one."""

import difflib
import re
import textwrap
from collections.abc import Iterable, Sequence

from toolkit.errors import UserError

WIDTH = 79  # characters


def described(line: str, about: str) -> str:
    """A command's one line of help, and below it what it reads and writes, wrapped to `WIDTH`."""
    return f"{line[0].upper()}{line[1:]}.\n\n{textwrap.fill(about, WIDTH)}"


def listed(examples: Sequence[str]) -> str:
    """Examples under a heading."""
    return "\n  ".join(["examples:", *examples])


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """The nearest known word, as the end of a message; empty if none is near.

    >>> did_you_mean("bulid", ["build", "check"])
    '; did you mean build?'
    >>> did_you_mean("frobnicate", ["build", "check"])
    ''
    """
    near = difflib.get_close_matches(word, known, n=1)
    return f"; did you mean {near[0]}?" if near else ""


def refuse_unknown(word: str, commands: Iterable[str]) -> None:
    """Refuses a first argument that is neither a command nor `--help`.

    Raises:
        UserError: with the nearest command.
    """
    known = list(commands)
    if word not in (*known, "-h", "--help"):
        near = did_you_mean(word, known)
        raise UserError(f"no command {word!r}{near}; commands: {', '.join(known)}")


def options_of(help_text: str) -> list[str]:
    """The options in a help text, in order.

    >>> options_of("  --media.cover_px PX  as --quiet, but --media.cover_px")
    ['--media.cover_px', '--quiet']
    """
    return list(dict.fromkeys(re.findall(r"--[a-z][\w.-]*", help_text)))
