"""Softmax losses over three sets of columns: the items of the batch, a sample of the catalogue, or all of it.

B sequences, L inputs, R predicted positions, C items of the catalogue, N items, M columns, E embedding.
"""

from typing import Literal

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from models.losses.loss import Columns, LossInputs, Scores
from models.losses.objectives import Examples
from models.losses.softmax import softmax_of_batch
from toolkit.errors import UserError
from toolkit.splits import Splits

Negatives = Literal["local", "global"]
Sampling = Literal["uniform", "popularity"]


class InBatch:
    """Every occurrence in the batch is a negative, corrected for popularity (`models.losses.softmax.in_batch_loss`).

    The items of a row's own sequence are not negatives of that row.

    Args:
        splits: splits whose `train_counts` are the popularity.
    """

    def __init__(self, splits: Splits) -> None:
        self.log_popularity = log_popularity(splits.train_counts)

    def columns(self, examples: Examples, seed: tuple[int, ...]) -> Columns:
        """The items of the batch, each counted as often as it occurs."""
        items, counts = np.unique(occurrences(examples), return_counts=True)
        bias = -self.log_popularity[items]
        return Columns(items.astype(np.int64), counts, bias, hide_own=True)

    def __call__(
        self, states: Tensor, table: Tensor, batch: LossInputs, *, scores: Scores | None = None
    ) -> Tensor:
        """The softmax over the columns, a scalar (`models.losses.softmax`)."""
        return softmax_of_batch(states, table, batch, scores=scores)


class Full:
    """Every item of the catalogue is a negative, once: the softmax over the items that evaluation ranks.

    Args:
        splits: splits with the catalogue.
    """

    def __init__(self, splits: Splits) -> None:
        items = splits.catalogue.astype(np.int64)
        bias = np.zeros(len(items), dtype=np.float32)
        self._columns = Columns(items, np.ones_like(items), bias)

    def columns(self, examples: Examples, seed: tuple[int, ...]) -> Columns:
        """The whole catalogue."""
        return self._columns

    def __call__(
        self, states: Tensor, table: Tensor, batch: LossInputs, *, scores: Scores | None = None
    ) -> Tensor:
        """The softmax over the columns, a scalar (`models.losses.softmax`)."""
        return softmax_of_batch(states, table, batch, scores=scores)


class Sampled:
    """Items drawn for each step are the negatives, corrected by the log of their expected number.

    With this correction the softmax over a sample estimates the full one (Bengio & Senécal 2003; Yi et al. 2019). A
    row's own target counts once, whether or not it was drawn.

    Args:
        splits: splits with the catalogue.
        count: K, items drawn per step.
        by: `uniform`, without replacement, so that K = C is the full softmax; or `popularity`, with replacement, in
            proportion to the occurrences in training.

    Raises:
        UserError: if `by` is `uniform` and `count` exceeds the size of the catalogue.
    """

    def __init__(self, splits: Splits, *, count: int, by: Sampling) -> None:
        self.catalogue = splits.catalogue.astype(np.int64)
        if by == "uniform" and count > len(self.catalogue):
            raise UserError(
                f"train.sampled_items is {count}, but the catalogue has {len(self.catalogue)} items; lower it, or use "
                "--train.loss full"
            )
        self.count, self.by = count, by
        shares = np.full(len(splits.train_counts), 1 / len(self.catalogue))
        if by == "popularity":
            shares = np.exp(log_popularity(splits.train_counts).astype(np.float64))
        self.bias = -np.log(count * shares).astype(np.float32)
        self.until = np.cumsum(splits.train_counts)

    def columns(self, examples: Examples, seed: tuple[int, ...]) -> Columns:
        """The drawn items, and the items of the batch, which do not count as negatives unless drawn."""
        drawn = self._draw(np.random.default_rng(seed))
        items, columns = np.unique(
            np.concatenate([occurrences(examples), drawn]), return_inverse=True
        )
        counts = np.bincount(columns[-len(drawn) :], minlength=len(items))
        return Columns(items, counts, self.bias[items])

    def __call__(
        self, states: Tensor, table: Tensor, batch: LossInputs, *, scores: Scores | None = None
    ) -> Tensor:
        """The softmax over the columns, a scalar (`models.losses.softmax`)."""
        return softmax_of_batch(states, table, batch, scores=scores)

    def _draw(self, rng: np.random.Generator) -> NDArray[np.int64]:
        if self.by == "uniform":
            return rng.choice(self.catalogue, self.count, replace=False, shuffle=False)
        occurrences = rng.integers(self.until[-1], size=self.count)
        return np.searchsorted(self.until, occurrences, side="right")


def occurrences(examples: Examples) -> NDArray[np.int32]:
    """Item numbers of the sequences, with repetitions and without padding."""
    return examples.sequences[examples.sequences != 0]


def log_popularity(train_counts: NDArray[np.int64]) -> NDArray[np.float32]:
    """Log of each item's share of the training interactions, (N + 1,); 0 for padding.

    Items that do not occur in training get count 1; they are never columns of the in-batch loss.
    """
    shares = np.log(np.maximum(train_counts, 1) / max(train_counts.sum(), 1))
    shares[0] = 0.0
    return shares.astype(np.float32)
