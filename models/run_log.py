"""What a run writes down while it trains; processes other than the main one write nothing."""

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from toolkit.store import write_atomically


class RunLog:
    """Lines of `log.jsonl`, and a few words for whoever watches.

    Args:
        output: run folder.
        enabled: whether this is the main process.
    """

    def __init__(self, output: Path, *, enabled: bool) -> None:
        self.path = output / "log.jsonl"
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
        if self.path.exists():
            for line in self.path.read_text(encoding="utf-8").splitlines():
                tell(json.loads(line))
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


def _step_of(line: str) -> int:
    """Infinite for lines of the run's end."""
    return int(json.loads(line).get("step", sys.maxsize))
