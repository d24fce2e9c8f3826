"""The commands of `python -m models`: a file for each, and a line here."""

from models.commands import compare, efficiency, evaluate, export, push, recommend, report, study
from toolkit.console.program import PlainCommand

COMMANDS: dict[str, PlainCommand] = {
    "evaluate": evaluate.COMMAND,
    "recommend": recommend.COMMAND,
    "export": export.COMMAND,
    "compare": compare.COMMAND,
    "efficiency": efficiency.COMMAND,
    "report": report.COMMAND,
    "study": study.COMMAND,
    "push": push.COMMAND,
}
