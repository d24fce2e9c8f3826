"""The training interactions as pairs of a user and an item, and as examples that each predict one item.

S users, L inputs, N items, P interactions.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from toolkit.splits import Ints, Splits


@dataclass(frozen=True)
class Interactions:
    """The training interactions, in the order of users and of time.

    Args:
        users: (P,) row of the user, 1..S.
        items: (P,) item number, 1..N.
        positions: (P,) index of the interaction in its user's training sequence, from 0 for the oldest.
        user_count: S.
        item_count: N.
    """

    users: NDArray[np.int64]
    items: NDArray[np.int64]
    positions: NDArray[np.int64]
    user_count: int
    item_count: int

    @classmethod
    def of(cls, splits: Splits) -> "Interactions":
        """The interactions of the training sequences of some splits."""
        rows, columns = splits.train.nonzero()
        first = np.searchsorted(rows, np.arange(len(splits.train)))
        return cls(
            users=rows + 1,
            items=splits.train[rows, columns].astype(np.int64),
            positions=np.arange(len(rows)) - first[rows],
            user_count=len(splits.train),
            item_count=len(splits.train_counts) - 1,
        )


def leave_one_out(sequences: Ints) -> tuple[Ints, NDArray[np.int64]]:
    """An example per interaction: the other items of its user, and the item itself as the last.

    Args:
        sequences: (S, L + 1) item numbers, left-padded with 0.

    Returns:
        (P, L + 1) examples, left-padded with 0, whose last item is the target, and (P,) the row of each in `sequences`.

    >>> examples, rows = leave_one_out(np.array([[0, 5, 6], [7, 8, 9]]))
    >>> examples.tolist()
    [[0, 6, 5], [0, 5, 6], [8, 9, 7], [7, 9, 8], [7, 8, 9]]
    >>> rows.tolist()
    [0, 0, 1, 1, 1]
    """
    rows, targets = sequences.nonzero()
    length = sequences.shape[1]
    columns = np.arange(length - 1)
    # The other items in their order: those before the target move right by one, which keeps the padding on the left.
    others = np.where(columns < targets[:, None], columns, columns + 1)
    examples = np.empty((len(rows), length), dtype=sequences.dtype)
    examples[:, :-1] = sequences[rows[:, None], others]
    examples[:, -1] = sequences[rows, targets]
    return examples, rows
