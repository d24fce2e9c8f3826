"""`python -m prep COMMAND`: a command's options, and its default configuration."""

import sys
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any, NamedTuple

import yaml
from jsonargparse import Namespace

from prep.commands import COMMANDS, CONFIG_NAME, PLACES, Command
from prep.config import PrepConfig
from prep.faces.config import FacesConfig
from prep.steps import manifest
from prep.synth.faces.settings import SynthFaces
from prep.trust import LeftOut, of_keys, refuse_left_out, settings_of_data
from toolkit.console.program import Program
from toolkit.json_files import MANIFEST
from toolkit.settings import OPTION, refuse_other_shape, split_files
from toolkit.yaml_files import read_yaml

PROGRAM = Program(
    prog="python -m prep",
    script="versa-prep",
    about="""From a raw dump (videos, covers, titles, interactions) to an Arrow dataset.

where to begin:
  python -m prep synth demo/dump                 a synthetic dump, to try everything on
  python -m prep build demo/dump demo/dataset    every step; run it again to resume
  python -m prep check demo/dataset              is the dataset complete?
  accelerate launch -m models.train --help       then: training""",
    commands=COMMANDS,
)
PROG, SCRIPT, make_parser = PROGRAM.prog, PROGRAM.script, PROGRAM.make_parser


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command.

    Args:
        argv: its name and arguments; those of the process by default.

    Returns:
        The exit status: 0; 1 if `check` finds the dataset broken; 2 without a command.

    Raises:
        UserError: whatever the user can correct.
    """
    arguments = [_with_underscores(word) for word in (sys.argv[1:] if argv is None else argv)]
    return PROGRAM.main(arguments, _options)


def _options(name: str, arguments: list[str]) -> Namespace:
    """A command's options: those typed override `--config`, or else the default configuration."""
    command = COMMANDS[name]
    if not command.configured:
        return PROGRAM.options(name, arguments)
    arguments = _with_files_read(arguments)
    asked = PROGRAM.options(name, [a for a in arguments if not a.startswith("--print_config")])
    default = _default_config(command, asked)
    if default is None:
        return PROGRAM.options(name, arguments)
    refuse_left_out(default.left_out, where=default.where, words=arguments, file=default.is_dumps)
    settings = [OPTION, _as_text(default.values), *arguments]
    return PROGRAM.options(name, settings, note=f" (some settings are from {default.where})")


class _Default(NamedTuple):
    """The default configuration of a call.

    Args:
        where: the file.
        values: its settings, without those that only the user may set.
        left_out: the latter, if this command uses them.
        is_dumps: whether the file is DUMP/prep.yaml, which can be named with `--config`.
    """

    where: Path
    values: dict[str, Any]
    left_out: list[LeftOut]
    is_dumps: bool


def _with_files_read(arguments: list[str]) -> list[str]:
    """Arguments in which every `--config FILE` holds the file's settings, read safely, and comes first.

    Raises:
        UserError: if a file holds no settings.
    """
    files, others = split_files(arguments)
    return [*(f"{OPTION}={_read_file(file)}" for file in files), *others]


def _read_file(value: str) -> str:
    if value.lstrip().startswith("{"):  # settings instead of a file name
        return value
    values = read_yaml(Path(value))
    shown = {key: part for key, part in values.items() if key not in _OF_THE_CALL}
    refuse_other_shape(shown, PrepConfig, where=Path(value))
    return _as_text(values)


def _as_text(values: dict[str, Any]) -> str:
    # As YAML, which can hold any text. The parser never mistakes it for a file name: it begins with a comment.
    return "# settings\n" + yaml.safe_dump(values or {})


def _default_config(command: Command, options: Namespace) -> _Default | None:
    """The default configuration: DUMP/prep.yaml if the command reads a dump, else what `dataset.json` recorded.

    None if the user gives --config, or the dump has no such file.
    """
    if options.config:
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


# --print_config also prints these, which belong to the call and not to the configuration.
_OF_THE_CALL = {*PLACES, "config", "retry_failed", "sample", "html", "json", "quiet"}


_DASHED = {
    f"--{key.name.replace('_', '-')}": f"--{key.name}"
    for settings in (PrepConfig, FacesConfig, SynthFaces)
    for key in fields(settings)
    if "_" in key.name
}


def _with_underscores(word: str) -> str:
    """Accepts keys of the configuration with dashes, as options commonly are written."""
    option, equals, value = word.partition("=")
    return _DASHED.get(option, option) + equals + value
