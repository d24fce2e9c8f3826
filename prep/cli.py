"""`python -m prep COMMAND`: the commands' options, read into `prep.config`."""

import sys
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any, NamedTuple

import yaml
from jsonargparse import ArgumentError, ArgumentParser, Namespace

from prep.commands import COMMANDS, CONFIG_NAME, PLACES, Command
from prep.config import PrepConfig
from prep.sample import COUNT, PAGE
from prep.steps import manifest
from prep.trust import LeftOut, of_keys, refuse_left_out, settings_of_data
from toolkit.console.command_help import described, listed, refuse_unknown
from toolkit.console.completion import SHELLS, completion_script
from toolkit.console.config_help import ConfigHelp, told_clearly
from toolkit.console.terminal import EXIT_STATUSES, add_answer_options, answer
from toolkit.errors import UserError
from toolkit.json_files import MANIFEST
from toolkit.settings import OPTION, refuse_other_shape, split_files
from toolkit.yaml_files import read_yaml

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


class _Default(NamedTuple):
    """The default configuration of a call.

    Args:
        where: the file.
        values: of it, without what only the user may say.
        left_out: what that is, as far as this command uses it.
        is_dumps: whether it is DUMP/prep.yaml, which can be named with `--config`.
    """

    where: Path
    values: dict[str, Any]
    left_out: list[LeftOut]
    is_dumps: bool


def with_files_read(words: list[str]) -> list[str]:
    """A command's words with the contents of every `--config FILE` in the place of its name, read safely, and first.

    Raises:
        UserError: if one is no file of settings.
    """
    files, others = split_files(words[1:])
    return [words[0], *(f"{OPTION}={_read_file(file)}" for file in files), *others]


def _read_file(value: str) -> str:
    if value.lstrip().startswith("{"):  # settings themselves, typed in the place of a file
        return value
    values = read_yaml(Path(value))
    shown = {key: part for key, part in values.items() if key not in _OF_THE_CALL}
    refuse_other_shape(shown, PrepConfig, where=Path(value))
    return _as_text(values)


def _as_text(values: dict[str, Any]) -> str:
    # YAML, which holds any text: it is never taken for the name of a file, since it begins with a comment.
    return "# settings\n" + yaml.safe_dump(values or {})


def _default_config(command: Command, options: Namespace) -> _Default | None:
    """The default configuration: DUMP/prep.yaml where a dump is read, else what `dataset.json` recorded.

    None where the user gives --config, the command takes none, or the dump has no such file.
    """
    if "config" not in options or options.config:
        return None
    if "dump" not in options:
        values, left_out = manifest.recorded_settings(options.dataset)
        return _Default(
            options.dataset / MANIFEST, values, of_keys(left_out, command.uses), is_dumps=False
        )
    where = options.dump / CONFIG_NAME
    if not where.is_file():
        return None
    if not options.quiet:
        print(f"configuration: {where}", file=sys.stderr)
    values = {key: value for key, value in read_yaml(where).items() if key not in _OF_THE_CALL}
    return _Default(where, *settings_of_data(values, PrepConfig, where=where), True)


# What --print_config prints besides the configuration: each call has its own.
_OF_THE_CALL = {*PLACES, "config", "retry_failed", "sample", "html", "json", "quiet"}


def _parse(parser: ArgumentParser, words: list[str]) -> Namespace:
    refuse_unknown(words[0], COMMANDS)
    if words[0] not in COMMANDS:  # --help
        return parser.parse_args(words)
    command, default = COMMANDS[words[0]], None
    try:
        if command.configured:
            words = with_files_read(words)
        asked = parser.parse_args([w for w in words if not w.startswith("--print_config")])
        default = _default_config(command, asked[asked.command])
        if default is None:
            return parser.instantiate(parser.parse_args(words))
        refuse_left_out(default.left_out, where=default.where, words=words, file=default.is_dumps)
        text = _as_text(default.values)
        return parser.instantiate(parser.parse_args([words[0], "--config", text, *words[1:]]))
    except ArgumentError as error:
        parser = _command_parser(PROG, words[0], command)
        told = told_clearly(error, parser.format_help())
        where = f" (a part of the settings is from {default.where})" if default else ""
        raise UserError(f"{told}{where}; see {PROG} {words[0]} --help") from None


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
