"""Groups of comparable runs, with the reason why runs are in different groups."""

from collections.abc import Sequence
from dataclasses import dataclass

from models.compare import compare_evaluated
from models.results.comparison import Comparison
from models.results.evaluations import Evaluated, refuse_incomparable
from toolkit.errors import UserError


@dataclass(frozen=True)
class Group:
    """Comparable runs. The first run is the baseline of the tests.

    Args:
        runs: indices of the runs among all runs.
        comparison: comparison of the runs.
        reason: why the runs are not comparable with the first group; None for the first group.
    """

    runs: list[int]
    comparison: Comparison
    reason: str | None


def group_runs(evaluations: Sequence[Evaluated]) -> list[Group]:
    """Adds each run to the first group of runs that it is comparable with.

    Args:
        evaluations: the runs' evaluations on one split.
    """
    groups: list[list[int]] = []
    reasons: list[str | None] = []
    for index, evaluation in enumerate(evaluations):
        refusals = [_refusal(evaluations[group[0]], evaluation) for group in groups]
        if None in refusals:
            groups[refusals.index(None)].append(index)
        else:
            groups.append([index])
            reasons.append(refusals[0] if refusals else None)
    return [
        Group(group, compare_evaluated([evaluations[index] for index in group]), reason)
        for group, reason in zip(groups, reasons, strict=True)
    ]


def _refusal(first: Evaluated, other: Evaluated) -> str | None:
    """Why two runs are not comparable; None if they are."""
    try:
        refuse_incomparable(first, other)
    except UserError as error:
        return str(error)
    return None
