"""`python -m models COMMAND`: the parser of all commands, and what becomes of their answers."""

import argparse
import sys
from collections.abc import Sequence

from models.commands import COMMANDS
from models.commands.command import Command
from toolkit.console.command_help import (
    CommandParser,
    described,
    did_you_mean,
    listed,
    options_of,
    refuse_unknown,
)
from toolkit.console.terminal import EXIT_STATUSES, add_answer_options, answer
from toolkit.errors import UserError

PROG = "python -m models"
SCRIPT = "versa-models"  # the same command, as shells complete it
ABOUT = """Evaluates, compares and uses trained recommenders.

where to begin:
  accelerate launch -m models.train --help          training has a command of its own
  python -m models evaluate demo/runs/text-only     a run that `make demo` trained
  python -m models compare demo/runs/text-only demo/runs/video-caption"""


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command.

    Args:
        argv: its words; those of the command line by default.

    Returns:
        The exit status: 0, or 2 where no command is given.

    Raises:
        UserError: whatever the user can mend.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    if not words:
        print(make_parser().format_help(), file=sys.stderr)
        return 2
    if words[0] == "--print-completion":
        from toolkit.console.completion import completion_script

        print(completion_script(make_parser(SCRIPT), words[1:]))
        return 0
    options = _parse(words)
    command = COMMANDS[options.command]
    return answer(lambda: command.run(options), as_json=options.json, quiet=options.quiet)


def make_parser(prog: str = PROG) -> argparse.ArgumentParser:
    """The parser of all commands."""
    parser = CommandParser(
        prog=prog,
        usage=f"{prog} COMMAND …",
        description=ABOUT,
        epilog=f"{EXIT_STATUSES}\n\nTAB completes commands and options: see {SCRIPT} in the README.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--print-completion",
        metavar="SHELL",
        help=f"print what makes bash or zsh complete {SCRIPT}",
    )
    commands = parser.add_subparsers(
        dest="command",
        title="commands",
        description=f"{prog} COMMAND --help tells more.",
        metavar="COMMAND",
        required=True,
        prog=prog,
    )
    for name, command in COMMANDS.items():
        _fill(commands.add_parser(name, help=command.help), command)
    return parser


def _parse(words: list[str]) -> argparse.Namespace:
    refuse_unknown(words[0], COMMANDS)
    options, unknown = make_parser().parse_known_args(words)
    if unknown:
        known = options_of(_fill(CommandParser(), COMMANDS[options.command]).format_help())
        told = f"{options.command} takes no {unknown[0]}{did_you_mean(unknown[0], known)}"
        raise UserError(f"{told}; see {PROG} {options.command} --help")
    return options


def _fill(parser: argparse.ArgumentParser, command: Command) -> argparse.ArgumentParser:
    parser.description = described(command.help, command.about)
    parser.epilog = f"{listed(command.examples)}\n\n{EXIT_STATUSES}"
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    command.add_options(parser)
    add_answer_options(parser)
    return parser
