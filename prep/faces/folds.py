"""Three subject-exclusive folds for faces without lists."""

from collections.abc import Sequence
from types import MappingProxyType
from typing import Literal

FOLDS = 3
# The folds of published results on DISFA, as the lists of ME-GraphAU have them: tested in fold 1, 2, 3.
_DISFA = (
    (3, 29, 23, 25, 8, 5, 7, 17, 4),
    (13, 18, 11, 28, 12, 6, 31, 21, 24),
    (2, 10, 1, 26, 27, 32, 30, 9, 16),
)
PUBLISHED = MappingProxyType(
    {f"SN{number:03d}": fold for fold, numbers in enumerate(_DISFA, start=1) for number in numbers}
)


def assigned_folds(
    subjects: Sequence[str],
) -> tuple[dict[str, int], Literal["published", "assigned"]]:
    """The fold that tests each subject: as published if these are exactly DISFA's subjects, otherwise in turn.

    >>> assigned_folds(["a", "b", "c", "d"])
    ({'a': 1, 'b': 2, 'c': 3, 'd': 1}, 'assigned')

    Args:
        subjects: distinct ids, sorted.
    """
    if set(subjects) == set(PUBLISHED):
        return {subject: PUBLISHED[subject] for subject in subjects}, "published"
    return {subject: row % FOLDS + 1 for row, subject in enumerate(subjects)}, "assigned"
