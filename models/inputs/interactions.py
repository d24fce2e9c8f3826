"""The training interactions as pairs of a user and an item.

S users, N items, P interactions.
"""

from dataclasses import dataclass
from typing import Any

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

    def matrix(self) -> Any:
        """The binary matrix of users and items, (S + 1, N + 1), a `scipy.sparse.csr_array`; row and column 0 are empty."""
        from scipy.sparse import csr_array  # type: ignore[import-untyped]  # imports of a tenth of a second

        shape = (self.user_count + 1, self.item_count + 1)
        ones = np.ones(len(self.items), dtype=np.float32)
        matrix = csr_array((ones, (self.users, self.items)), shape=shape)
        matrix.sum_duplicates()
        matrix.data[:] = 1
        return matrix
