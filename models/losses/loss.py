"""The interface of a loss: it selects the columns of a step, and computes a scalar from states, table and batch.

B sequences, L inputs, R predicted positions (rows), M columns of a step, n negatives per row, E embedding.
"""

from collections.abc import Callable
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
        items: (M,) distinct item numbers, ascending, including all items of the sequences and all negatives.
        counts: (M,) multiplicity of each item among the negatives of a row.
        bias: (M,) added to the logits.
        hide_own: whether to exclude the items of a row's own sequence from its negatives.
        negatives: (R, n) item numbers drawn for each row; None if all rows share the columns.
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
        rows: (R,) predicted positions in the flattened (B, L); all of them if sizes are fixed.
        targets: (R,) index of the item that each row predicts.
        weights: (R,) weight of each row in the loss; 0 for a row without a prediction. They are scaled so that the mean
            of the losses of all processes is the mean over all their predicted positions.
        bias: (M + 1,) added to the logits of each column; 0 for padding.
        log_counts: (M + 1,) log of the multiplicity of each column; -inf for a column that does not count, such as
            padding.
        hidden: (B, H) indices of columns that are not negatives of the rows of a sequence, except each row's own
            target; None if nothing is hidden.
        negatives: (R, n) indices of the negatives of each row; None if all rows share the columns.
    """

    inputs: Tensor
    rows: Tensor
    targets: Tensor
    weights: Tensor
    bias: Tensor
    log_counts: Tensor
    hidden: Tensor | None = None
    negatives: Tensor | None = None

    def sequence_of_rows(self) -> Tensor:
        """Index of the sequence of each row, (R,), 0 to B - 1."""
        return self.rows // self.inputs.shape[1]

    def hidden_of_rows(self) -> Tensor | None:
        """`hidden` per row, (R, H)."""
        if self.hidden is None:
            return None
        return self.hidden.index_select(0, self.sequence_of_rows())


@dataclass(frozen=True)
class Scores:
    """Scores of a model that are not dot products.

    Args:
        compute: (..., B, E) vectors of users and (..., C, F) of items -> (..., B, C).
        values_per_score: number of values that one score takes in memory while it is computed.
        all_items: whether the scores of all items are computed, whatever the items are.
    """

    compute: Callable[[Tensor, Tensor], Tensor]
    values_per_score: int = 1
    all_items: bool = False

    def __call__(self, users: Tensor, items: Tensor) -> Tensor:
        """(..., B, E), (..., C, F) -> (..., B, C)."""
        return self.compute(users, items)


class Loss(Protocol):
    """A training loss. It has no parameters: a saved model is loaded without it."""

    def columns(self, examples: Examples, seed: tuple[int, ...]) -> Columns:
        """Selects the columns of one step.

        Args:
            examples: the sequences of the step and their predicted positions.
            seed: random seed; equal seeds draw equal columns.
        """
        ...

    def __call__(
        self, states: Tensor, table: Tensor, batch: LossInputs, *, scores: Scores | None = None
    ) -> Tensor:
        """Computes the loss, a scalar: the sum over rows of the row's loss times its weight in `batch.weights`.

        Args:
            states: (R, E) user states at `batch.rows`, in float32.
            table: (M + 1, E) item embeddings, in float32; row 0 is padding.
            batch: targets, weights and selected columns, as rows of the table.
            scores: computes the scores of states and items; None for dot products. It is given for a model whose scores
                are not dot products, and for no other, so a loss for dot products alone may omit this argument.
        """
        ...
