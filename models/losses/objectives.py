"""Objectives select the predicted positions of a sequence and their inputs.

An objective is a pure function of sequences and a seed that returns `Examples`. It receives the sequences of all
processes together, so that its draws do not depend on the number of processes.

B sequences, L + 1 items of a training sequence, R predicted positions (rows).
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

MASK = -1  # mask token: the input in place of a hidden item; not an item number, never encoded
_MASKS = 0x6D61736B  # separates the draws of masks from a loss's draws with the same seed


@dataclass(frozen=True)
class Examples:
    """Training sequences with their inputs and targets.

    Args:
        sequences: (B, L + 1) item numbers, left-padded with 0.
        inputs: (B, L) or (B, L + 1) item numbers that the sequence encoder reads; 0 is padding, `MASK` a hidden item.
        rows: (R,) predicted positions in the flattened inputs, ascending.
        targets: (R,) item number that each row predicts.
    """

    sequences: NDArray[np.int32]
    inputs: NDArray[np.int32]
    rows: NDArray[np.int64]
    targets: NDArray[np.int32]

    def sequence_of_rows(self) -> NDArray[np.int64]:
        """Index of the sequence of each row, (R,), 0 to B - 1."""
        return self.rows // self.inputs.shape[1]


Objective = Callable[[NDArray[np.int32], tuple[int, ...]], Examples]


def next_item(sequences: NDArray[np.int32], seed: tuple[int, ...] = ()) -> Examples:
    """Every position predicts the next item, as in SASRec (arXiv 1808.09781).

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
    """Only the last item is predicted, from all items before it: one example per sequence.

    Args:
        sequences: (B, L + 1) item numbers, left-padded with 0. A sequence of fewer than two items has no example.
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
    """Masked positions predict the hidden items, as in BERT4Rec (arXiv 1904.06690).

    Each item is masked with probability `mask_ratio`. If this masks no item of a sequence, one random item is masked.
    The input has all L + 1 items, the same length as in ranking (L items of a history and a mask token). Repeated items
    are masked independently at each position.

    Args:
        sequences: (B, L + 1) item numbers, left-padded with 0.
        seed: random seed of the masks.
        mask_ratio: masking probability, in (0, 1].

    >>> examples = masked_item(np.array([[0, 5, 6, 7]]), (1, 1, 3), mask_ratio=0.2)
    >>> examples.inputs.tolist(), examples.rows.tolist(), examples.targets.tolist()
    ([[0, 5, -1, 7]], [2], [6])
    """
    real = sequences != 0
    draws = np.random.default_rng((*seed, _MASKS)).random(sequences.shape)
    draws[~real] = np.inf
    # The smallest draw of a sequence is always masked. If any other item is masked, it is masked anyway.
    masked = real & ((draws < mask_ratio) | (draws == draws.min(axis=1, keepdims=True)))
    rows = np.flatnonzero(masked)
    inputs = np.where(masked, np.int32(MASK), sequences)
    return Examples(sequences, inputs, rows, sequences.ravel()[rows])
