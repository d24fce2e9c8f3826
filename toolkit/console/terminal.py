"""How commands answer: as text, with `--json` as data, and with `--quiet` without progress or results."""

import json
import os
import sys
from collections.abc import Callable, Sequence
from contextlib import ExitStack, redirect_stdout
from pathlib import Path
from typing import Any, NamedTuple

from jsonargparse import ArgumentParser, Namespace

from toolkit.console.parsing import new_parser, parse, split_arguments
from toolkit.console.progress import without_progress

EXIT_STATUSES = """exit status:
  0    success
  1    the input is broken; or, below a traceback, a bug in Versa: please report it
  2    a mistake that you can fix, explained in one line
  130  interrupted"""


class Answer(NamedTuple):
    """The result of a command.

    Args:
        text: for people; empty if everything was printed on the way.
        data: the same for programs, as JSON can hold it.
        status: exit status: 0, or 1 if what was checked is broken.
    """

    text: str
    data: Any
    status: int = 0


def add_answer_options(parser: ArgumentParser) -> None:
    """Adds `--json` and `--quiet`."""
    parser.add_argument(
        "--json",
        action="store_true",
        help="print the result as JSON, and nothing else on stdout",
    )
    parser.add_argument(
        "--quiet",
        action="store_true",
        help="print neither progress nor results, only errors",
    )


def take_answer_options(arguments: Sequence[str]) -> tuple[Namespace, list[str]]:
    """`--json` and `--quiet` of a command line, and its other arguments, which another parser reads."""
    parser = new_parser(add_help=False)
    add_answer_options(parser)
    own, others = split_arguments(parser, arguments)
    return parse(parser, own, command="this command with"), others


def answer(command: Callable[[], Answer | None], *, as_json: bool, quiet: bool) -> int:
    """Runs a command and prints its answer.

    What the command prints on the way goes to stderr with `as_json`, and is dropped with `quiet`.

    Args:
        command: what to run; it returns None in all processes but the main one.
        as_json: whether to print the answer's data.
        quiet: whether to leave out progress and text; data that are asked for are printed.

    Returns:
        The exit status.
    """
    with ExitStack() as stack:
        if quiet:
            stack.enter_context(without_progress())
            nowhere = stack.enter_context(Path(os.devnull).open("w"))
            stack.enter_context(redirect_stdout(nowhere))
        elif as_json:
            stack.enter_context(redirect_stdout(sys.stderr))
        result = command()
    if result is None:
        return 0
    if as_json:
        print(json.dumps(result.data, indent=2))
    elif result.status:
        print(result.text, file=sys.stderr)
    elif result.text and not quiet:
        print(result.text)
    return result.status
