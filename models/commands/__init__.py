"""The words after `python -m models`: a file and a line here for each."""

from models.commands import compare, efficiency, evaluate, push, recommend, report
from models.commands.command import Command

COMMANDS: dict[str, Command] = {
    "evaluate": evaluate.COMMAND,
    "recommend": recommend.COMMAND,
    "compare": compare.COMMAND,
    "efficiency": efficiency.COMMAND,
    "report": report.COMMAND,
    "push": push.COMMAND,
}
