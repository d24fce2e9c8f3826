"""A command of `python -m models`, and options that several commands share."""

from collections.abc import Callable
from typing import NamedTuple

from jsonargparse import ArgumentParser, Namespace

from toolkit.console.terminal import Answer


class Command(NamedTuple):
    """A command of `python -m models` (see `toolkit.console.program.Command`).

    Args:
        help: one line.
        about: what it reads and what it writes.
        examples: command lines that work after `make demo`.
        add_options: adds its arguments to a parser.
        run: runs it. It imports what it needs itself, so that help does not wait for torch. It returns None in
            all processes but the main one.
    """

    help: str
    about: str
    examples: tuple[str, ...]
    add_options: Callable[[ArgumentParser], None]
    run: Callable[[Namespace], Answer | None]


def best_device() -> str:
    """The GPU if there is one, else the CPU."""
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


def add_evaluation(parser: ArgumentParser) -> None:
    """Adds the options that select an evaluation of a run."""
    parser.add_argument(
        "--split",
        choices=["valid", "test"],
        default="test",
        help="which interactions are the targets: under leave-one-out, the last but one of each user (valid) or the last (test)",
    )
    parser.add_argument(
        "--protocol",
        metavar="NAME|FILE.yaml",
        help="how to measure: a protocol with the run's own split, such as clean, unmasked, cold, warm-5 or new-item for leave-one-out, or a YAML file; by default the run's own protocol",
    )
