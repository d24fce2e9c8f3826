"""The training interactions as pairs of a user and an item.

S users, N items, P interactions.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from toolkit.splits import Splits


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
