"""The log of a run, `log.jsonl`; processes other than the main one write nothing."""

import json
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from toolkit.atomic import write_atomically
from toolkit.errors import UserError

LOG = "log.jsonl"


class RunLog:
    """Writes the lines of `log.jsonl`, and prints progress.

    Args:
        output: run folder.
        enabled: whether this is the main process.
    """

    def __init__(self, output: Path, *, enabled: bool) -> None:
        self.path = output / LOG
        self.enabled = enabled
        self.started = time.perf_counter()
        self.follower: Callable[[dict[str, Any]], None] | None = None

    def go_back_to(self, step: int) -> None:
        """Removes the lines of later steps: a resumed run makes those steps again."""
        if not self.enabled or not self.path.exists():
            return
        lines = self.path.read_text(encoding="utf-8").splitlines(keepends=True)
        kept = "".join(line for line in lines if line.endswith("\n") and _step_of(line) <= step)
        write_atomically(self.path, lambda file: file.write(kept.encode()))

    def follow(self, follower: Callable[[dict[str, Any]], None]) -> None:
        """Calls `follower` with every line: at once with those already written, later with each new line."""
        for entry in read_log(self.path.parent):
            follower(entry)
        self.follower = follower

    def write(self, **entry: Any) -> None:
        """Appends one line: the entry, and the seconds since the run began."""
        if not self.enabled:
            return
        entry["seconds"] = round(time.perf_counter() - self.started, 3)
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(entry) + "\n")
        if self.follower:
            self.follower(entry)

    def print(self, *texts: str) -> None:
        """Prints lines to stdout."""
        for text in texts if self.enabled else ():
            print(text, flush=True)


def read_log(run: Path) -> list[dict[str, Any]]:
    """The complete lines of a run's log; an empty list where there is no log.

    The last line may be half written where a run was killed; it is left out.

    Raises:
        UserError: if a line is not JSON.
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
    """Infinite for the lines at the run's end, which have no step."""
    return int(json.loads(line).get("step", sys.maxsize))


def flat(values: Mapping[str, Any], prefix: str = "", *, separator: str = ".") -> dict[str, Any]:
    """A nested mapping as a flat one, its keys joined by a separator.

    >>> flat({"train": {"epochs": 3}, "towers": ["title"]})
    {'train.epochs': 3, 'towers': ['title']}
    """
    joined: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, Mapping):
            joined |= flat(value, f"{prefix}{key}{separator}", separator=separator)
        else:
            joined[prefix + key] = value
    return joined
