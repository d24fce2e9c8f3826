"""What a command found, and how it is shown: as words, or with `--json` as data."""

import argparse
import json
from typing import Any, NamedTuple


class Answer(NamedTuple):
    """What a command found.

    Args:
        text: for reading.
        data: the same for programs: what JSON can hold.
        status: exit status: 0, or 1 where what was looked at is broken.
    """

    text: str
    data: Any
    status: int = 0


def add_answer_options(parser: argparse.ArgumentParser) -> None:
    """Adds `--json`."""
    parser.add_argument("--json", action="store_true", help="print what was found as JSON")


def show(answer: Answer | None, *, as_json: bool) -> int:
    """Prints an answer; None, of all processes but the main one, says nothing.

    Returns:
        The exit status.
    """
    if answer is None:
        return 0
    print(json.dumps(answer.data, indent=2) if as_json else answer.text)
    return answer.status
