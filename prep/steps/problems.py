"""Why an item is not ok: the one exception of per-item work, and the rows it becomes in `errors/`."""

from collections.abc import Sequence
from typing import NamedTuple

import pyarrow as pa

from toolkit import schema
from toolkit.schema import Status


class ItemProblem(Exception):
    """One item cannot be used at one step; the run goes on without it.

    Args:
        status: the word for it.
        message: what is wrong, with names and numbers.
    """

    def __init__(self, status: Status, message: str) -> None:
        super().__init__(status, message)
        self.status: Status = status
        self.message = message


class Problem(NamedTuple):
    """A row of `errors/`, but for the step."""

    item_id: str | None
    error_class: str
    message: str


def table(step: str, problems: Sequence[Problem]) -> pa.Table:
    """Problems of one step as rows of `errors/` (`toolkit.schema.ERRORS`)."""
    item_ids, classes, messages = zip(*problems, strict=True) if problems else ((), (), ())
    return pa.table([item_ids, [step] * len(problems), classes, messages], schema=schema.ERRORS)


def tally(told: pa.Table) -> dict[str, int]:
    """How many rows of each error class."""
    counted = told.column("error_class").value_counts().to_pylist()
    return {entry["values"]: entry["counts"] for entry in counted}


def summary(counts: dict[str, int]) -> str:
    """A tally as the end of a sentence."""
    if not counts:
        return ""
    return "; errors: " + ", ".join(f"{count:,} {name}" for name, count in sorted(counts.items()))
