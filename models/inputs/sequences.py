"""The sequences from which training batches are made: one per user, or one per training interaction.

S users, L + 1 items of a sequence, P interactions, G sequences.
"""

from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from toolkit.splits import Ints, Splits


class Selected(NamedTuple):
    """Some sequences.

    Args:
        items: (G, L + 1) item numbers, left-padded with 0.
        times: (G, L + 1) times of `items` in milliseconds, 0 at padding; None if they were not read.
        users: (G,) row of each sequence's user among the training users, from 1; None if the model reads none.
    """

    items: Ints
    times: NDArray[np.int64] | None = None
    users: NDArray[np.int64] | None = None


class Sequences(Protocol):
    """The sequences of an epoch."""

    def __len__(self) -> int:
        """Number of sequences."""
        ...

    def users(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """(G,) row of each sequence's user in the splits, from 0."""
        ...

    def select(self, rows: NDArray[np.int64]) -> Selected:
        """The sequences with these (G,) indices."""
        ...


class UserSequences:
    """The training sequence of each user who has one, whose items a sequential recommender predicts.

    Args:
        splits: splits with `train`, and `train_times` if the sequence encoder reads them.
    """

    def __init__(self, splits: Splits) -> None:
        self.owners = np.flatnonzero(splits.train.any(axis=1))
        self.items = splits.train
        self.times = splits.train_times

    def __len__(self) -> int:
        return len(self.owners)

    def users(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """(G,) row of each sequence's user in the splits, from 0."""
        return self.owners[rows]

    def select(self, rows: NDArray[np.int64]) -> Selected:
        """The sequences with these (G,) indices."""
        owners = self.owners[rows]
        return Selected(self.items[owners], None if self.times is None else self.times[owners])


class InteractionSequences:
    """A sequence per training interaction: the other items of its user, in their order, and the item itself as the last.

    General recommenders predict each interaction from the user, or from the user's other items.

    Args:
        items: (S, L + 1) training sequences, left-padded with 0.

    >>> examples = InteractionSequences(np.array([[0, 5, 6], [7, 8, 9]]))
    >>> examples.select(np.arange(len(examples))).items.tolist()
    [[0, 6, 5], [0, 5, 6], [8, 9, 7], [7, 9, 8], [7, 8, 9]]
    >>> examples.users(np.arange(len(examples))).tolist()
    [0, 0, 1, 1, 1]
    """

    def __init__(self, items: Ints) -> None:
        self.items = items
        self.owners, self.targets = items.nonzero()

    def __len__(self) -> int:
        return len(self.owners)

    def users(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """(G,) row of each sequence's user in the splits, from 0."""
        return self.owners[rows]

    def select(self, rows: NDArray[np.int64]) -> Selected:
        """The sequences with these (G,) indices."""
        owners, targets = self.owners[rows], self.targets[rows]
        columns = np.arange(self.items.shape[1] - 1)
        # Items before the target move right by one, which keeps the padding on the left.
        others = np.where(columns < targets[:, None], columns, columns + 1)
        examples = np.empty((len(rows), self.items.shape[1]), dtype=self.items.dtype)
        examples[:, :-1] = self.items[owners[:, None], others]
        examples[:, -1] = self.items[owners, targets]
        return Selected(examples, users=owners + 1)
