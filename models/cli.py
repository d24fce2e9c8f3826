"""`python -m models COMMAND`: the parser of all commands, and what becomes of their answers."""

import argparse
from collections.abc import Sequence

from models.commands import COMMANDS
from models.commands.command import Command
from toolkit.terminal import add_answer_options, show

TRAINING = """training has a command of its own:
  accelerate launch -m models.train --help"""


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command.

    Args:
        argv: its words; those of the command line by default.

    Returns:
        The exit status.

    Raises:
        UserError: whatever the user can mend.
    """
    options = make_parser().parse_args(argv)
    return show(COMMANDS[options.command].run(options), as_json=options.json)


def make_parser() -> argparse.ArgumentParser:
    """The parser of all commands."""
    examples = [command.examples[0] for command in COMMANDS.values()]
    parser = argparse.ArgumentParser(
        prog="python -m models",
        description="Evaluates and uses trained recommenders.",
        epilog=f"{_listed(examples)}\n{TRAINING}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(dest="command", required=True)
    for name, command in COMMANDS.items():
        _fill(commands.add_parser(name, help=command.help), command)
    return parser


def _fill(parser: argparse.ArgumentParser, command: Command) -> None:
    parser.description = f"{command.help}\n\n{command.about}"
    parser.epilog = _listed(command.examples)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    command.add_options(parser)
    add_answer_options(parser)


def _listed(examples: Sequence[str]) -> str:
    return "\n  ".join(["examples:", *examples])
