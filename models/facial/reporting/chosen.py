"""Which faces of a test the report shows.

N faces, A action units (AUs).
"""

from collections import Counter
from collections.abc import Hashable, Sequence

import numpy as np
from numpy.typing import NDArray

from models.facial.stored import StoredTest
from toolkit.facs import ACTIVE, MISSING

Rows = list[int]


def errors_of(test: StoredTest) -> NDArray[np.bool_]:
    """(N, A) whether the state at a probability of 0.5 differs from the label; false without a label."""
    wrong = (test.logits >= 0) != (test.labels == ACTIVE)
    return wrong & (test.labels != MISSING)


def right_and_wrong(test: StoredTest, count: int) -> tuple[Rows, Rows]:
    """The faces with the fewest errors, of these those with the most active AUs; and the faces with the most errors.

    Subjects take turns, so that the faces are of as many people as there are.

    Args:
        test: the predictions.
        count: of faces of each kind; fewer if the test has fewer.
    """
    wrong, active = errors_of(test).sum(1), (test.labels == ACTIVE).sum(1)
    best, worst = np.lexsort((-active, wrong)), np.argsort(-wrong, kind="stable")
    shown = _in_turn(best.tolist(), test.subjects)[:count]
    others = [row for row in worst.tolist() if row not in shown and wrong[row]]
    return shown, _in_turn(others, test.subjects)[:count]


def confident_errors(test: StoredTest) -> list[tuple[int, int]]:
    """Row and column of the most confident error of each AU, the most confident first; a face occurs once.

    Confidence is the calibrated probability of the wrong state.
    """
    wrong = errors_of(test)
    active = test.labels == ACTIVE
    confidence = np.where(wrong, np.where(active, 1 - test.probabilities, test.probabilities), -1.0)
    pairs = [divmod(int(index), len(test.aus)) for index in np.argsort(-confidence, axis=None)]
    found: dict[int, int] = {}  # row by column
    for row, column in pairs[: int(wrong.sum())]:
        if column not in found and row not in found.values():
            found[column] = row
    return [(row, column) for column, row in found.items()]


def _in_turn(rows: Sequence[int], groups: Sequence[Hashable]) -> Rows:
    """The first row of each group, then the second of each, and so on.

    >>> _in_turn([0, 1, 2, 3], ["a", "a", "b", "a"])
    [0, 2, 1, 3]
    """
    seen: Counter[Hashable] = Counter()
    turns = {}
    for row in rows:
        turns[row] = seen[groups[row]]
        seen[groups[row]] += 1
    return sorted(rows, key=turns.__getitem__)
