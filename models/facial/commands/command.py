"""A command of `python -m models.facial`."""

from collections.abc import Callable
from typing import NamedTuple

from jsonargparse import ArgumentParser, Namespace

from toolkit.console.terminal import Answer


class Command(NamedTuple):
    """A command of `python -m models.facial` (see `toolkit.console.program.Command`).

    Args:
        help: one line.
        about: what it reads and what it writes.
        examples: command lines.
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
