"""The commands of `python -m models.facial`: a file for each, and a line here."""

from models.facial.commands import compare, evaluate, predict, report
from toolkit.console.program import PlainCommand

COMMANDS: dict[str, PlainCommand] = {
    "evaluate": evaluate.COMMAND,
    "compare": compare.COMMAND,
    "report": report.COMMAND,
    "predict": predict.COMMAND,
}
