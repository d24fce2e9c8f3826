"""Parsers of all commands (jsonargparse): one layout of help, and one line about a mistake."""

from collections.abc import Sequence
from typing import Any

from jsonargparse import ArgumentError, ArgumentParser, Namespace

from toolkit.console.config_help import ConfigHelp, told_clearly
from toolkit.errors import UserError


def new_parser(**texts: Any) -> ArgumentParser:
    """A parser that raises on a mistake, and accepts no abbreviations.

    Args:
        texts: `prog`, `usage`, `description` and `epilog`, as argparse has them.
    """
    return ArgumentParser(
        formatter_class=ConfigHelp, exit_on_error=False, allow_abbrev=False, **texts
    )


def parse(
    parser: ArgumentParser, arguments: Sequence[str], *, command: str, note: str = ""
) -> Namespace:
    """Parses all arguments of a command.

    Args:
        parser: of the command.
        arguments: after its name.
        command: what the user typed, whose `--help` a mistake points to.
        note: a remark on where values came from, for the message.

    Raises:
        UserError: if an option or argument is unknown, missing or invalid.
    """
    try:
        return parser.instantiate(parser.parse_args(list(arguments)))
    except ArgumentError as error:
        message = told_clearly(error, parser.format_help(), _names(parser))
        raise UserError(f"{message}{note}; see {command} --help") from None


def split_arguments(
    parser: ArgumentParser, arguments: Sequence[str]
) -> tuple[list[str], list[str]]:
    """A parser's own options, each with the values after it, and the options of another command.

    >>> parser = new_parser()
    >>> _ = parser.add_argument("--over", nargs="+")
    >>> split_arguments(parser, ["--train.epochs", "5", "--over", "a", "b", "--config=c"])
    (['--over', 'a', 'b'], ['--train.epochs', '5', '--config=c'])
    """
    options = {option for action in parser._actions for option in action.option_strings}
    own: list[str] = []
    others: list[str] = []
    target = others
    for argument in arguments:
        if argument.startswith("-"):
            target = own if argument.partition("=")[0] in options else others
        target.append(argument)
    return own, others


def usage_of(command: str, parser: ArgumentParser) -> str:
    """A command's usage: its positional arguments, and that there are options."""
    positions = [
        f"{action.metavar} …" if action.nargs == "+" else f"{action.metavar}"
        for action in parser._get_positional_actions()
    ]
    return " ".join([command, *positions, "[options]"])


def _names(parser: ArgumentParser) -> dict[str, str]:
    """How help names the arguments whose option is not `--` and their key."""
    return {
        action.dest: str(action.option_strings[0] if action.option_strings else action.metavar)
        for action in parser._actions
        if not any(option.startswith("--") for option in action.option_strings)
    }
