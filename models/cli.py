"""`python -m models COMMAND`."""

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
main = PROGRAM.main
