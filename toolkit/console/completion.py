"""Shell completion: a script for bash or zsh, made from a parser."""

import argparse
from collections.abc import Sequence

import jsonargparse
import shtab

from toolkit.errors import UserError

SHELLS = ("bash", "zsh")


def completion_script(parser: argparse.ArgumentParser, words: Sequence[str]) -> str:
    """What a shell is to read so that it completes `parser.prog`.

    Args:
        parser: made for this: it does not parse afterwards.
        words: the shell's name.

    Raises:
        UserError: if it is none of `SHELLS`.
    """
    shell = " ".join(words)
    if shell not in SHELLS:
        raise UserError(f"--print-completion {shell}: give one of {', '.join(SHELLS)}")
    if isinstance(parser, jsonargparse.ArgumentParser):
        return str(parser.get_completion_script(f"shtab-{shell}"))
    return str(shtab.complete(parser, shell))
