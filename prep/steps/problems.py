"""Problems of items: the exception of per-item work, and its rows in `errors/`."""

from collections.abc import Sequence
from typing import NamedTuple

import pyarrow as pa

from toolkit import schema
from toolkit.schema import Status


class ItemProblem(Exception):
    """An item cannot be used in a step; the run continues without it.

    Args:
        status: status of the item.
        message: description of the problem, with names and numbers.
    """

    def __init__(self, status: Status, message: str) -> None:
        super().__init__(status, message)
        self.status: Status = status
        self.message = message


class Problem(NamedTuple):
    """A row of `errors/` without the step."""

    item_id: str | None
    error_class: str
    message: str


def table(step: str, problems: Sequence[Problem]) -> pa.Table:
    """Problems of one step as rows of `errors/` (`toolkit.schema.ERRORS`)."""
    item_ids, classes, messages = zip(*problems, strict=True) if problems else ((), (), ())
    return pa.table([item_ids, [step] * len(problems), classes, messages], schema=schema.ERRORS)


def tally(errors: pa.Table) -> dict[str, int]:
    """The number of rows per error class."""
    counted = errors.column("error_class").value_counts().to_pylist()
    return {entry["values"]: entry["counts"] for entry in counted}


def summary(counts: dict[str, int]) -> str:
    """A tally as the end of a printed line; empty without errors."""
    if not counts:
        return ""
    return "; errors: " + ", ".join(f"{count:,} {name}" for name, count in sorted(counts.items()))
