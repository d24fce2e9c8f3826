"""`python -m models COMMAND`."""

import sys
from collections.abc import Sequence

from models.commands import COMMANDS
from toolkit.console.program import Program

PROGRAM = Program(
    prog="python -m models",
    script="versa-models",
    about="""Evaluates, compares and uses trained recommenders.

where to begin:
  accelerate launch -m models.train --help          training is a command of its own
  python -m models evaluate demo/runs/text-only     a run that `make demo` trained
  python -m models compare demo/runs/text-only demo/runs/video-caption""",
    commands=COMMANDS,
)
PROG, SCRIPT, make_parser = PROGRAM.prog, PROGRAM.script, PROGRAM.make_parser


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command.

    Args:
        argv: its name and arguments; those of the process by default.

    Returns:
        The exit status: 0, or 2 without a command.

    Raises:
        UserError: whatever the user can correct.
    """
    return PROGRAM.main(sys.argv[1:] if argv is None else argv)
