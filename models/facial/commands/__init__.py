"""The commands of `python -m models.facial`: a file for each, and a line here."""

from models.facial.commands import compare, evaluate, predict
from models.facial.commands.command import Command

COMMANDS: dict[str, Command] = {
    "evaluate": evaluate.COMMAND,
    "compare": compare.COMMAND,
    "predict": predict.COMMAND,
}
