"""Runs that can be compared stand together on the page; those that cannot stand apart, with the reason."""

from collections.abc import Sequence
from dataclasses import dataclass

from models.compare import compare_evaluated
from models.results.comparison import Comparison
from models.results.evaluations import Evaluated, refuse_incomparable
from toolkit.errors import UserError


@dataclass(frozen=True)
class Group:
    """Runs that can be compared, the first of them being what the others are tested against.

    Args:
        runs: their places among all runs.
        comparison: of them.
        reason: why they stand apart from the first group; None of the first.
    """

    runs: list[int]
    comparison: Comparison
    reason: str | None


def group_runs(found: Sequence[Evaluated]) -> list[Group]:
    """Puts every run into the first group that it can be compared with.

    Args:
        found: the runs' evaluations on one split.
    """
    groups: list[list[int]] = []
    reasons: list[str | None] = []
    for place, run in enumerate(found):
        refusals = [_refusal(found[group[0]], run) for group in groups]
        if None in refusals:
            groups[refusals.index(None)].append(place)
        else:
            groups.append([place])
            reasons.append(refusals[0] if refusals else None)
    return [
        Group(group, compare_evaluated([found[place] for place in group]), reason)
        for group, reason in zip(groups, reasons, strict=True)
    ]


def _refusal(first: Evaluated, other: Evaluated) -> str | None:
    """Why two runs cannot be compared; None where they can."""
    try:
        refuse_incomparable(first, other)
    except UserError as error:
        return str(error)
    return None
