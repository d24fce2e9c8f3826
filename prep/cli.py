"""`python -m prep COMMAND`: the commands' options, read into `prep.config`."""

import json
import sys
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path

from jsonargparse import ArgumentError, ArgumentParser, Namespace

from prep import manifest
from prep.commands import COMMANDS, CONFIG_NAME, PLACES, Command
from prep.config import PrepConfig
from prep.sample import COUNT, PAGE
from toolkit.command_help import described, listed, refuse_unknown
from toolkit.completion import SHELLS, completion_script
from toolkit.config_help import ConfigHelp, told_clearly
from toolkit.errors import UserError
from toolkit.terminal import EXIT_STATUSES, add_answer_options, answer

PROG = "python -m prep"
SCRIPT = "versa-prep"  # the same command, as shells complete it
ABOUT = """From a raw dump (videos, covers, titles, interactions) to an Arrow dataset.

where to begin:
  python -m prep synth demo/dump                 a synthetic dump, to try everything on
  python -m prep build demo/dump demo/dataset    every step; a run that was stopped goes on
  python -m prep check demo/dataset              is it whole?
  accelerate launch -m models.train --help       then: training"""


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command.

    Args:
        argv: its words; those of the command line by default.

    Returns:
        The exit status: 0; 1 where `check` found something broken; 2 where no command is given.

    Raises:
        UserError: whatever the user can mend.
    """
    words = [_with_underscores(word) for word in (sys.argv[1:] if argv is None else argv)]
    parser = make_parser()
    if not words:
        print(parser.format_help(), file=sys.stderr)
        return 2
    if words[0] == "--print-completion":
        print(completion_script(make_parser(SCRIPT), words[1:]))
        return 0
    chosen = _parse(parser, words)
    command, options = COMMANDS[chosen.command], chosen[chosen.command]
    return answer(lambda: command.run(options), as_json=options.json, quiet=options.quiet)


def make_parser(prog: str = PROG) -> ArgumentParser:
    """The parser of all commands; unknown keys are errors, in files and on the command line."""
    parser = ArgumentParser(
        prog=prog,
        usage=f"{prog} COMMAND …",
        description=ABOUT,
        epilog=f"{EXIT_STATUSES}\n\nTAB completes commands and options: see {SCRIPT} in the README.",
        formatter_class=ConfigHelp,
        exit_on_error=False,
        allow_abbrev=False,
    )
    parser.add_argument(
        "--print-completion", choices=SHELLS, help=f"print what makes a shell complete {SCRIPT}"
    )
    commands = parser.add_subcommands(
        dest="command",
        title="commands",
        description=f"{prog} COMMAND --help tells more.",
        metavar="COMMAND",
    )
    for name, command in COMMANDS.items():
        commands.add_subcommand(name, _command_parser(prog, name, command), help=command.help)
    return parser


def with_default_config(parser: ArgumentParser, words: list[str]) -> list[str]:
    """Puts the configuration that goes without saying before what the user says.

    That is DUMP/prep.yaml where a dump is read, what `dataset.json` recorded where only a dataset
    is, and nothing where the user gives --config.
    """
    chosen = parser.parse_args([word for word in words if not word.startswith("--print_config")])
    options = chosen[chosen.command]
    if "config" not in options or options.config:
        return words
    if "dump" not in options:
        default = json.dumps(manifest.require(options.dataset).get("config", {}))
    elif (options.dump / CONFIG_NAME).is_file():
        default = str(options.dump / CONFIG_NAME)
        if not options.quiet:
            print(f"configuration: {default}", file=sys.stderr)
    else:
        return words
    return [words[0], "--config", default, *words[1:]]


def _parse(parser: ArgumentParser, words: list[str]) -> Namespace:
    refuse_unknown(words[0], COMMANDS)
    try:
        return parser.instantiate(parser.parse_args(with_default_config(parser, words)))
    except ArgumentError as error:
        parser = _command_parser(PROG, words[0], COMMANDS[words[0]])
        told = told_clearly(error, parser.format_help())
        raise UserError(f"{told}; see {PROG} {words[0]} --help") from None


def _command_parser(prog: str, name: str, command: Command) -> ArgumentParser:
    places = " ".join(place.upper() for place in command.places)
    parser = ArgumentParser(
        usage=f"{prog} {name} {places} [options]",
        description=described(command.help, command.about),
        epilog=f"{listed(command.examples)}\n\n{EXIT_STATUSES}",
        formatter_class=ConfigHelp,
        exit_on_error=False,
        allow_abbrev=False,
    )
    for place in command.places:
        kind = str if place == "tower" else Path
        parser.add_argument(place, type=kind, metavar=place.upper(), help=PLACES[place])
    _add_own_options(parser, name)
    if command.retries:
        parser.add_argument("--retry-failed", action="store_true", help="do failed items again")
    add_answer_options(parser)
    if command.configured:
        default = (
            f"DUMP/{CONFIG_NAME}" if "dump" in command.places else "what dataset.json recorded"
        )
        parser.add_argument(
            "--config",
            action="config",
            metavar="FILE",
            help=f"YAML file of the keys below (default: {default})",
        )
        parser.add_class_arguments(PrepConfig)
    return parser


def _add_own_options(parser: ArgumentParser, name: str) -> None:
    if name == "check":
        parser.add_argument(
            "--dump",
            type=Path,
            metavar="DUMP",
            help="compare the covers and clips in it with the digests of those that were read",
        )
    if name == "export":
        parser.add_argument(
            "--layer", default="last", help="last or mean of the kept states, or the index of one"
        )
    if name == "synth":
        parser.add_argument("--items", type=int, default=300, help="how many items")
        parser.add_argument("--users", type=int, default=1000, help="how many users")
        parser.add_argument("--seed", type=int, default=0, help="any integer from 0")
    if name == "caption":
        parser.add_argument(
            "--sample", type=int, metavar="N", help="caption N items to look at, and store no row"
        )
        parser.add_argument(
            "--html",
            nargs="?",
            const="",
            metavar="FILE",
            help=f"write what is sampled as a page (FILE: DATASET/{PAGE}; N: {COUNT})",
        )


_DASHED = {
    f"--{key.name.replace('_', '-')}": f"--{key.name}"
    for key in fields(PrepConfig)
    if "_" in key.name
}


def _with_underscores(word: str) -> str:
    """Lets keys of the configuration be written with dashes, as options commonly are."""
    option, equals, value = word.partition("=")
    return _DASHED.get(option, option) + equals + value
