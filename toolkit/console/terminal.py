"""How commands answer: in words, or with `--json` as data; and with `--quiet` nothing on the way."""

import argparse
import json
import os
import sys
from collections.abc import Callable, Sequence
from contextlib import ExitStack, redirect_stdout
from pathlib import Path
from typing import Any, NamedTuple

from toolkit.console.progress import without_progress

EXIT_STATUSES = """exit status:
  0    done
  1    what was looked at is broken; below a traceback: our fault, please report it
  2    something that you can mend, told on one line
  130  interrupted"""


class Answer(NamedTuple):
    """What a command found.

    Args:
        text: for reading; empty where everything was said on the way.
        data: the same for programs: what JSON can hold.
        status: exit status: 0, or 1 where what was looked at is broken.
    """

    text: str
    data: Any
    status: int = 0


def add_answer_options(parser: argparse.ArgumentParser) -> None:
    """Adds `--json` and `--quiet`."""
    parser.add_argument(
        "--json",
        action="store_true",
        help="print what was found as JSON, and nothing else on stdout",
    )
    parser.add_argument(
        "--quiet",
        action="store_true",
        help="print neither progress nor results, only what is wrong",
    )


def take_answer_options(words: Sequence[str]) -> tuple[argparse.Namespace, list[str]]:
    """`--json` and `--quiet`, and the other words, of a command whose own options are something else."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    add_answer_options(parser)
    return parser.parse_known_args(words)


def answer(command: Callable[[], Answer | None], *, as_json: bool, quiet: bool) -> int:
    """Runs a command and prints its answer.

    What it prints on the way goes to stderr if stdout is to hold JSON, and nowhere if it is to be quiet.

    Args:
        command: what to do; None, of all processes but the main one, is no answer.
        as_json: whether the answer's data are printed.
        quiet: whether progress and words are left out; data that are asked for are not.

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
        found = command()
    if found is None:
        return 0
    if as_json:
        print(json.dumps(found.data, indent=2))
    elif found.status:
        print(found.text, file=sys.stderr)
    elif found.text and not quiet:
        print(found.text)
    return found.status
