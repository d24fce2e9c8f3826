"""Draws negatives for each predicted position from the items outside its sequence.

R predicted positions (rows), n negatives per row, B sequences, L inputs, N items.
"""

import numpy as np
from numpy.typing import NDArray

from models.losses.candidates import Sampling
from toolkit.errors import UserError
from toolkit.splits import Splits

_ROWS_AT_ONCE = 1 << 16  # sequences that are sorted at once to check them


class NegativeSampler:
    """Draws items for each row, with replacement, among the items that do not occur in the row's own sequence.

    A target therefore is never a negative, nor is any repetition of it. Items are drawn exactly, without rejection: an
    item occupies a range as wide as its weight, and a draw skips the ranges of the sequence's items.

    Args:
        splits: splits with the catalogue and the training sequences.
        count: n, draws per row.
        by: `uniform` over the catalogue, or `popularity`, in proportion to the occurrences in training.

    Raises:
        UserError: if a training sequence leaves no item to draw.
    """

    def __init__(self, splits: Splits, *, count: int, by: Sampling) -> None:
        self.count = count
        weights = np.zeros(len(splits.train_counts), dtype=np.int64)
        weights[splits.catalogue] = 1
        if by == "popularity":
            weights = splits.train_counts.astype(np.int64)
        self.weights = weights
        self.until = np.cumsum(weights)  # item i has the range from until[i - 1] to until[i]
        for start in range(0, len(splits.train), _ROWS_AT_ONCE):
            left = self._left(np.sort(splits.train[start : start + _ROWS_AT_ONCE], axis=1))
            if not left.all():
                user = splits.user_ids[start + int(np.argmin(left))]
                raise UserError(
                    f"train.sampled_by {by}: the training sequence of user {user!r} contains every item that can be drawn, "
                    "so it has no negatives; use --train.loss full, or lower sequence.max_len"
                )

    def __call__(
        self, sequences: NDArray[np.int32], owners: NDArray[np.int64], seed: tuple[int, ...]
    ) -> NDArray[np.int64]:
        """Item numbers of the negatives, (R, n).

        Args:
            sequences: (B, L + 1) item numbers, left-padded with 0.
            owners: (R,) index of each row's sequence.
            seed: random seed; equal seeds draw equal items.
        """
        own = np.sort(sequences, axis=1)
        widths = self._widths(own)[owners]
        begins = (self.until[own] - self.weights[own])[owners]
        left = self.until[-1] - widths.sum(axis=1)
        drawn = np.random.default_rng(seed).integers(left[:, None], size=(len(owners), self.count))
        for begin, width in zip(begins.T, widths.T, strict=True):  # by item number, ascending
            drawn += np.where(drawn >= begin[:, None], width[:, None], 0)
        return np.searchsorted(self.until, drawn, side="right")

    def _widths(self, own: NDArray[np.int32]) -> NDArray[np.int64]:
        """(B, L + 1) weights of sorted sequences, 0 for padding and for repetitions of an item."""
        widths = self.weights[own]
        widths[:, 1:][own[:, 1:] == own[:, :-1]] = 0
        return widths

    def _left(self, own: NDArray[np.int32]) -> NDArray[np.int64]:
        """(B,) total weight of the items outside each sorted sequence."""
        return self.until[-1] - self._widths(own).sum(axis=1)
