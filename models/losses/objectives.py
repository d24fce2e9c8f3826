"""Objectives: which positions of a sequence are predicted, from which inputs.

An objective is a pure function from sequences and a seed to `Examples`. It applies to the sequences of all processes
together, so what it draws does not depend on their number.

B sequences, L + 1 items of a training sequence, R predicted positions (rows).
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

MASK = (
    -1
)  # the input that stands for a hidden item: no item number, no column, never encoded as an item
_MASKS = 0x6D61736B  # keeps the draws of masks apart from a loss's draws with the same seed


@dataclass(frozen=True)
class Examples:
    """Training sequences, and what is predicted from them.

    Args:
        sequences: (B, L + 1) item numbers, left-padded with 0.
        inputs: (B, L) or (B, L + 1) item numbers that the sequence encoder reads; 0 is padding, `MASK` is hidden.
        rows: (R,) predicted positions among the flattened inputs, ascending.
        targets: (R,) item number that each row predicts.
    """

    sequences: NDArray[np.int32]
    inputs: NDArray[np.int32]
    rows: NDArray[np.int64]
    targets: NDArray[np.int32]

    def sequence_of_rows(self) -> NDArray[np.int64]:
        """(R,) the sequence of each row, 0 to B - 1."""
        return self.rows // self.inputs.shape[1]


Objective = Callable[[NDArray[np.int32], tuple[int, ...]], Examples]


def next_item(sequences: NDArray[np.int32], seed: tuple[int, ...] = ()) -> Examples:
    """Every position predicts the item after it, as SASRec does (arXiv 1808.09781).

    Args:
        sequences: (B, L + 1) item numbers, left-padded with 0.
        seed: unused; nothing is drawn.

    >>> examples = next_item(np.array([[0, 5, 6, 7]]))
    >>> examples.inputs.tolist(), examples.rows.tolist(), examples.targets.tolist()
    ([[0, 5, 6]], [1, 2], [6, 7])
    """
    inputs = sequences[:, :-1]
    rows = np.flatnonzero(inputs)
    return Examples(sequences, inputs, rows, sequences[:, 1:].ravel()[rows])


def last_item(sequences: NDArray[np.int32], seed: tuple[int, ...] = ()) -> Examples:
    """The last position alone predicts, from all items before it: one example per sequence.

    Args:
        sequences: (B, L + 1) item numbers, left-padded with 0. One of fewer than two items predicts nothing.
        seed: unused; nothing is drawn.

    >>> examples = last_item(np.array([[0, 5, 6, 7]]))
    >>> examples.inputs.tolist(), examples.rows.tolist(), examples.targets.tolist()
    ([[0, 5, 6]], [2], [7])
    """
    inputs = sequences[:, :-1]
    users = np.flatnonzero(inputs[:, -1])
    return Examples(sequences, inputs, (users + 1) * inputs.shape[1] - 1, sequences[users, -1])


def masked_item(
    sequences: NDArray[np.int32], seed: tuple[int, ...], *, mask_ratio: float
) -> Examples:
    """Masked positions predict the items that they hide, as BERT4Rec does (arXiv 1904.06690).

    Each item is masked with probability `mask_ratio`; where that would mask none of a sequence, a random item of it is
    masked. All L + 1 items are inputs, as many as ranking reads: L items of a history and a mask after them. An item
    that occurs several times is masked at each position on its own.

    Args:
        sequences: (B, L + 1) item numbers, left-padded with 0.
        seed: of what is masked.
        mask_ratio: probability, in (0, 1].

    >>> examples = masked_item(np.array([[0, 5, 6, 7]]), (1, 1, 3), mask_ratio=0.2)
    >>> examples.inputs.tolist(), examples.rows.tolist(), examples.targets.tolist()
    ([[0, 5, -1, 7]], [2], [6])
    """
    real = sequences != 0
    draws = np.random.default_rng((*seed, _MASKS)).random(sequences.shape)
    draws[~real] = np.inf
    # The least draw of a sequence is masked in any case; where others are masked, it is among them already.
    masked = real & ((draws < mask_ratio) | (draws == draws.min(axis=1, keepdims=True)))
    rows = np.flatnonzero(masked)
    inputs = np.where(masked, np.int32(MASK), sequences)
    return Examples(sequences, inputs, rows, sequences.ravel()[rows])
