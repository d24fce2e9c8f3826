"""Shell completion: a script for bash or zsh, made from a parser."""

from collections.abc import Sequence

from jsonargparse import ArgumentParser

from toolkit.errors import UserError

SHELLS = ("bash", "zsh")


def completion_script(parser: ArgumentParser, arguments: Sequence[str]) -> str:
    """The script that makes a shell complete `parser.prog`.

    Args:
        parser: made for this: it does not parse afterwards.
        arguments: of `--print-completion`: the shell's name.

    Raises:
        UserError: if it is none of `SHELLS`.
    """
    shell = " ".join(arguments)
    if shell not in SHELLS:
        raise UserError(f"--print-completion {shell}: expected one of {', '.join(SHELLS)}")
    return str(parser.get_completion_script(f"shtab-{shell}"))
