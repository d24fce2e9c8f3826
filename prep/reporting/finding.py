"""A finding of a report: a statement, what it does to a result, and advice."""

from typing import Any, Literal, NamedTuple

Severity = Literal["error", "warning", "note"]
Fitness = Literal["fit", "caution", "unfit"]
SEVERITIES: tuple[Severity, ...] = ("error", "warning", "note")
Facts = dict[str, Any]


class Finding(NamedTuple):
    """One line of the verdict; `what; advice.` is a sentence.

    Args:
        severity: an error makes the dataset or one of its tables unusable for training; a warning
            suggests to check the dump; a note is information.
        kind: identifier for programs.
        what: the statement.
        advice: what to do.
        effect: what it does to a result; empty for findings about the completeness of tables.
        fitness: what the finding makes of the dataset for a paper: `fit` nothing, `caution` requires a word in the
            paper, `unfit` makes numbers meaningless.
    """

    severity: Severity
    kind: str
    what: str
    advice: str
    effect: str = ""
    fitness: Fitness = "fit"


def percent(share: float) -> str:
    """A share in percent; shows 100 % and 0 % only for exactly 1 and 0.

    >>> percent(1), percent(0.99999), percent(0.256)
    ('100%', '99.9%', '25.6%')
    """
    if share in (0, 1):
        return f"{100 * share:.4g}%"
    return f"{min(max(100 * share, 0.1), 99.9):.1f}%"
