"""What a loss is: it chooses the columns of a step, and computes a scalar from states, table and batch.

B sequences, L inputs, R predicted positions (rows), M columns of a step, n negatives per row, E embedding.
"""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from models.losses.objectives import Examples


@dataclass(frozen=True)
class Columns:
    """The items of one step's table.

    Args:
        items: (M,) distinct item numbers, ascending; all items of the sequences and all negatives are among them.
        counts: (M,) how often each counts among a row's negatives.
        bias: (M,) added to their logits.
        hide_own: whether the items of a row's own sequence are no negatives of it.
        negatives: (R, n) item numbers drawn for each row; None where all rows share the columns.
    """

    items: NDArray[np.int64]
    counts: NDArray[np.int64]
    bias: NDArray[np.float32]
    hide_own: bool = False
    negatives: NDArray[np.int64] | None = None


@dataclass(frozen=True, kw_only=True)
class LossInputs:
    """The part of a batch that a loss reads. Indices are rows of the table: 0 is padding, 1 + m is column m.

    Args:
        inputs: (B, L) index of each input; 0 is padding, `models.losses.objectives.MASK` a mask token.
        rows: (R,) predicted positions among the flattened (B, L); all of them where sizes are fixed.
        targets: (R,) index of the item that each row predicts.
        weights: (R,) of each row in the loss; 0 for a row that predicts nothing. The mean of all processes' losses is
            the mean over all their predicted positions.
        bias: (M + 1,) added to the logits of each column; 0 for padding.
        log_counts: (M + 1,) log of how often each column counts; -inf for none, as for padding.
        hidden: (B, H) indices of the columns that are no negatives of a sequence's rows, each row's own target
            excepted; None where nothing is hidden.
        negatives: (R, n) indices of the negatives of each row; None where all rows share the columns.
    """

    inputs: Tensor
    rows: Tensor
    targets: Tensor
    weights: Tensor
    bias: Tensor
    log_counts: Tensor
    hidden: Tensor | None = None
    negatives: Tensor | None = None

    def hidden_of_rows(self) -> Tensor | None:
        """(R, H): `hidden`, for each row."""
        if self.hidden is None:
            return None
        return self.hidden.index_select(0, self.rows // self.inputs.shape[1])


class Loss(Protocol):
    """A training loss. It holds no parameters: a saved model is loaded without it."""

    def columns(self, examples: Examples, seed: tuple[int, ...]) -> Columns:
        """The columns of one step.

        Args:
            examples: the sequences of the step and their predicted positions.
            seed: of whatever is drawn; equal seeds draw equal columns.
        """
        ...

    def __call__(self, states: Tensor, table: Tensor, batch: LossInputs) -> Tensor:
        """The loss, a scalar: the sum over the rows of `batch.weights` times the loss of each.

        Args:
            states: (R, E) user states at `batch.rows`, in float32.
            table: (M + 1, E) item embeddings, in float32; row 0 is padding.
            batch: targets, weights and what `columns` chose, as rows of the table.
        """
        ...
