"""What a run writes down while it trains; processes other than the main one write nothing."""

import json
import time
from pathlib import Path
from typing import Any


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

    def write(self, **entry: Any) -> None:
        """Appends one line: the entry, and the seconds since the run began."""
        if not self.enabled:
            return
        entry["seconds"] = round(time.perf_counter() - self.started, 3)
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(entry) + "\n")

    def say(self, words: str) -> None:
        """Prints a line."""
        if self.enabled:
            print(words, flush=True)
