"""What a run writes down while it trains; processes other than the main one write nothing."""

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from toolkit.atomic import write_atomically
from toolkit.errors import UserError

LOG = "log.jsonl"


class RunLog:
    """Lines of `log.jsonl`, and a few words for whoever watches.

    Args:
        output: run folder.
        enabled: whether this is the main process.
    """

    def __init__(self, output: Path, *, enabled: bool) -> None:
        self.path = output / LOG
        self.enabled = enabled
        self.started = time.perf_counter()
        self.tell: Callable[[dict[str, Any]], None] | None = None

    def go_back_to(self, step: int) -> None:
        """Forgets the lines of later steps: a resumed run makes those steps again."""
        if not self.enabled or not self.path.exists():
            return
        lines = self.path.read_text(encoding="utf-8").splitlines(keepends=True)
        kept = "".join(line for line in lines if line.endswith("\n") and _step_of(line) <= step)
        write_atomically(self.path, lambda file: file.write(kept.encode()))

    def follow(self, tell: Callable[[dict[str, Any]], None]) -> None:
        """Has `tell` called with every line: those that are there now, others when they are written."""
        for entry in read_log(self.path.parent):
            tell(entry)
        self.tell = tell

    def write(self, **entry: Any) -> None:
        """Appends one line: the entry, and the seconds since the run began."""
        if not self.enabled:
            return
        entry["seconds"] = round(time.perf_counter() - self.started, 3)
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(entry) + "\n")
        if self.tell:
            self.tell(entry)

    def say(self, words: str) -> None:
        """Prints a line."""
        if self.enabled:
            print(words, flush=True)


def read_log(run: Path) -> list[dict[str, Any]]:
    """Whole lines of a run's log; the last may be half written where a run was killed. None where there is no log.

    Raises:
        UserError: if a line is no JSON.
    """
    path = run / LOG
    if not path.exists():
        return []
    entries = []
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: not UTF-8 ({error}); restore or delete it") from None
    for number, line in enumerate(text.splitlines(keepends=True), start=1):
        if not line.endswith("\n"):
            break
        try:
            entries.append(json.loads(line))
        except (ValueError, RecursionError) as error:
            raise UserError(
                f"{path}: line {number} is no JSON ({error}); mend or delete it"
            ) from None
        if not isinstance(entries[-1], dict):
            raise UserError(f"{path}: line {number} is no JSON object; mend or delete it")
    return entries


def _step_of(line: str) -> int:
    """Infinite for lines of the run's end."""
    return int(json.loads(line).get("step", sys.maxsize))


def flat(values: dict[str, Any], prefix: str = "", *, between: str = ".") -> dict[str, Any]:
    """Keys of keys joined, by dots unless something else is to stand between them."""
    joined: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, dict):
            joined |= flat(value, f"{prefix}{key}{between}", between=between)
        else:
            joined[prefix + key] = value
    return joined
