"""`python -m prep COMMAND`: the commands and their options, read into `prep.config`."""

import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import fields
from pathlib import Path
from typing import NamedTuple

from jsonargparse import ArgumentError, ArgumentParser, Namespace

import prep
from prep import manifest
from prep.check import describe
from prep.config import PrepConfig
from prep.sample import COUNT, PAGE
from toolkit.errors import UserError

CONFIG_NAME = "prep.yaml"


class Command(NamedTuple):
    """One word after `python -m prep`.

    Args:
        help: one line about it.
        places: its positional arguments.
        run: what it does; returns the exit status.
        configured: whether it takes the options of `PrepConfig`.
        retries: whether it takes --retry-failed.
    """

    help: str
    places: tuple[str, ...]
    run: Callable[[Namespace], int]
    configured: bool = True
    retries: bool = True


def _synth(options: Namespace) -> int:
    from prep.synth import write_dump

    write_dump(options.out, items=options["items"], users=options["users"], seed=options["seed"])
    print(f"wrote a synthetic dump; next: python -m prep build {options.out} DATASET")
    return 0


def _build(options: Namespace) -> int:
    prep.build(options.dump, options.dataset, _config(options), retry_failed=options.retry_failed)
    return 0


def _ingest(options: Namespace) -> int:
    prep.ingest(options.dump, options.dataset, _config(options))
    return 0


def _media(options: Namespace) -> int:
    prep.media(options.dump, options.dataset, _config(options), retry_failed=options.retry_failed)
    return 0


def _caption(options: Namespace) -> int:
    if options.sample is None and options.html is None:
        prep.caption(options.dataset, _config(options), retry_failed=options.retry_failed)
    else:
        _sample(options)
    return 0


def _sample(options: Namespace) -> None:
    if options.retry_failed:
        raise UserError(
            "--retry-failed does items again, and --sample stores none; give one of them"
        )
    count = COUNT if options.sample is None else options.sample
    html = None if options.html is None else Path(options.html or options.dataset / PAGE)
    print(prep.sample_captions(options.dataset, _config(options), count=count, html=html))
    if html:
        print(f"\npage: {html}")


def _encode(options: Namespace) -> int:
    prep.encode(options.dataset, _config(options), retry_failed=options.retry_failed)
    return 0


def _check(options: Namespace) -> int:
    reasons = prep.check(options.dataset)
    if reasons:
        print(*(f"broken: {reason}" for reason in reasons), sep="\n", file=sys.stderr)
        return 1
    print(describe(options.dataset))
    return 0


def _export(options: Namespace) -> int:
    ids = prep.export_tower(options.dataset, options.tower, options.file, layer=options.layer)
    print(f"wrote {options.file} and {ids}: row r is of the item on line r")
    return 0


def _report(options: Namespace) -> int:
    prep.report(options.dataset)
    return 0


def _estimate(options: Namespace) -> int:
    print(prep.estimate(options.dump, _config(options)))
    return 0


COMMANDS = {
    "synth": Command("Writes a synthetic dump.", ("out",), _synth, configured=False, retries=False),
    "build": Command("Every step in order; resumable.", ("dump", "dataset"), _build),
    "ingest": Command("Numbers items and users.", ("dump", "dataset"), _ingest, retries=False),
    "media": Command("Stores covers and video frames.", ("dump", "dataset"), _media),
    "caption": Command("Says in words what covers and clips show.", ("dataset",), _caption),
    "encode": Command("Stores encoders' hidden states.", ("dataset",), _encode),
    "estimate": Command("Says what a build would take.", ("dump",), _estimate, retries=False),
    "check": Command(
        "Validates; prints counts.", ("dataset",), _check, configured=False, retries=False
    ),
    "export": Command(
        "Writes a tower as a NumPy file with its ids.",
        ("dataset", "tower", "file"),
        _export,
        configured=False,
        retries=False,
    ),
    "report": Command(
        "Writes report.html and .json.", ("dataset",), _report, configured=False, retries=False
    ),
}
_PLACES = {
    "out": "folder to write, absent or empty",
    "dump": "folder of what was downloaded",
    "dataset": "folder that prep writes",
    "tower": "name of a stored tower",
    "file": "OUT.npy to write; the ids go to OUT.ids.txt",
}


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command.

    Args:
        argv: its words; those of the command line by default.

    Returns:
        The exit status: 0, or 1 where `check` found something broken.

    Raises:
        UserError: whatever the user can mend.
    """
    parser = make_parser()
    words = [_with_underscores(word) for word in (sys.argv[1:] if argv is None else argv)]
    try:
        chosen = parser.parse_args(with_default_config(parser, words))
    except ArgumentError as error:
        message = " ".join(str(error).split())
        raise UserError(f"{message}; see python -m prep {' '.join(words[:1])} --help") from None
    chosen = parser.instantiate(chosen)
    return COMMANDS[chosen.command].run(chosen[chosen.command])


def make_parser() -> ArgumentParser:
    """The parser of all commands; unknown keys are errors, in files and on the command line."""
    parser = ArgumentParser(prog="python -m prep", description=prep.__doc__, exit_on_error=False)
    commands = parser.add_subcommands(dest="command")
    for name, command in COMMANDS.items():
        commands.add_subcommand(name, _command_parser(name, command), help=command.help)
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
        print(f"configuration: {default}", file=sys.stderr)
    else:
        return words
    return [words[0], "--config", default, *words[1:]]


def _command_parser(name: str, command: Command) -> ArgumentParser:
    parser = ArgumentParser(description=command.help, exit_on_error=False)
    for place in command.places:
        parser.add_argument(place, type=str if place == "tower" else Path, help=_PLACES[place])
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
    if command.configured:
        default = (
            f"DUMP/{CONFIG_NAME}" if "dump" in command.places else "what dataset.json recorded"
        )
        parser.add_argument(
            "--config", action="config", help=f"YAML file of the keys below (default: {default})"
        )
        parser.add_class_arguments(PrepConfig)
    if command.retries:
        parser.add_argument("--retry-failed", action="store_true", help="do failed items again")
    return parser


_DASHED = {
    f"--{key.name.replace('_', '-')}": f"--{key.name}"
    for key in fields(PrepConfig)
    if "_" in key.name
}


def _with_underscores(word: str) -> str:
    """Lets keys of the configuration be written with dashes, as options commonly are."""
    option, equals, value = word.partition("=")
    return _DASHED.get(option, option) + equals + value


def _config(options: Namespace) -> PrepConfig:
    return PrepConfig(**{key.name: options[key.name] for key in fields(PrepConfig)})
