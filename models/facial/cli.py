"""`python -m models.facial COMMAND`."""

from models.facial.commands import COMMANDS
from toolkit.console.program import Program

PROGRAM = Program(
    prog="python -m models.facial",
    script="versa-faces",
    about="""Tests, compares and uses networks that recognise facial action units (AUs).

where to begin:
  accelerate launch -m models.facial.train --help   training is a command of its own
  python -m models.facial evaluate RUN              tests a run
  python -m models.facial predict RUN face.jpg --output faces.csv""",
    commands=COMMANDS,
)
PROG, SCRIPT, make_parser = PROGRAM.prog, PROGRAM.script, PROGRAM.make_parser
main = PROGRAM.main
