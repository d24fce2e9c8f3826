"""What help of all commands has in common: examples, and the near word where one is misspelt."""

import argparse
import difflib
import re
import textwrap
from collections.abc import Iterable, Sequence
from typing import NoReturn

from toolkit.errors import UserError

WIDTH = 79  # characters


class CommandParser(argparse.ArgumentParser):
    """A parser whose mistakes are told as all others are: on one line, `UserError`."""

    def error(self, message: str) -> NoReturn:
        """Raises what argparse found."""
        raise UserError(f"{message}; see {self.prog} --help")


def described(line: str, about: str) -> str:
    """A command's line, and below it what it reads and writes, as wide as a terminal."""
    return f"{line[0].upper()}{line[1:]}.\n\n{textwrap.fill(about, WIDTH)}"


def listed(examples: Sequence[str]) -> str:
    """Examples under a heading."""
    return "\n  ".join(["examples:", *examples])


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """The near known word, as the end of a message; nothing where none is near.

    >>> did_you_mean("bulid", ["build", "check"])
    '; did you mean build?'
    >>> did_you_mean("frobnicate", ["build", "check"])
    ''
    """
    near = difflib.get_close_matches(word, known, n=1)
    return f"; did you mean {near[0]}?" if near else ""


def refuse_unknown(word: str, commands: Iterable[str]) -> None:
    """Refuses a first word that is no command, and asks for no help.

    Raises:
        UserError: with the near command.
    """
    known = list(commands)
    if word not in (*known, "-h", "--help"):
        near = did_you_mean(word, known)
        raise UserError(f"no command {word!r}{near}; commands: {', '.join(known)}")


def options_of(help_text: str) -> list[str]:
    """The options that a help names, in their order.

    >>> options_of("  --media.cover_px PX  as --quiet, but --media.cover_px")
    ['--media.cover_px', '--quiet']
    """
    return list(dict.fromkeys(re.findall(r"--[a-z][\w.-]*", help_text)))
