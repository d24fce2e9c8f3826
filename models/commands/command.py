"""What one word after `python -m models` is made of, and options that several share."""

import argparse
from collections.abc import Callable
from typing import NamedTuple

from toolkit.console.terminal import Answer


class Command(NamedTuple):
    """One word after `python -m models`.

    Args:
        help: one line about it.
        about: what it reads and what it writes.
        examples: command lines that work after `make demo`.
        add_options: tells a parser its arguments.
        run: what it does. It imports what it needs itself, so that help does not wait for torch. None is what
            all processes but the main one answer.
    """

    help: str
    about: str
    examples: tuple[str, ...]
    add_options: Callable[[argparse.ArgumentParser], None]
    run: Callable[[argparse.Namespace], Answer | None]


def best_device() -> str:
    """The GPU where there is one."""
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


def add_evaluation(parser: argparse.ArgumentParser) -> None:
    """Adds which evaluation of a run is meant."""
    parser.add_argument(
        "--split", choices=["valid", "test"], default="test", help="users' last but one or last"
    )
    parser.add_argument(
        "--protocol",
        choices=["paper", "clean", "unmasked"],
        help="what ranking masks: the kept history (paper), the whole history but the target (clean), nothing (unmasked); the run's own by default",
    )
