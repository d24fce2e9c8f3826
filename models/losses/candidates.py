"""Which items each step's softmax runs over, and how often each counts: the batch's own, a sample, or all.

B sequences, L inputs, C items of the catalogue, N items, M columns.
"""

from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from toolkit.errors import UserError
from toolkit.splits import Splits

Loss = Literal["in-batch", "full", "sampled"]
Negatives = Literal["local", "global"]
Sampling = Literal["uniform", "popularity"]


@dataclass(frozen=True)
class Columns:
    """The items of one step's table.

    Args:
        items: (M,) distinct item numbers, ascending; all items of the batch are among them.
        counts: (M,) how often each counts among a row's negatives.
        bias: (M,) added to their logits.
    """

    items: NDArray[np.int64]
    counts: NDArray[np.int64]
    bias: NDArray[np.float32]


class Candidates(Protocol):
    """Chooses the columns of a step."""

    @property
    def hide_own(self) -> bool:
        """Whether items of a row's own sequence are left out of its negatives."""
        ...

    def columns(self, sequences: NDArray[np.int32], seed: tuple[int, ...]) -> Columns:
        """Those for sequences (B, L + 1); `seed` decides what is drawn, if anything is."""
        ...


class InBatch:
    """Every occurrence in the batch is a negative, its popularity taken off (`models.losses.softmax.in_batch_loss`).

    Args:
        splits: whose `train_counts` are the popularity.
    """

    hide_own = True

    def __init__(self, splits: Splits) -> None:
        self.log_popularity = log_popularity(splits.train_counts)

    def columns(self, sequences: NDArray[np.int32], seed: tuple[int, ...]) -> Columns:
        """The batch's items, as often as they occur."""
        items, counts = np.unique(sequences[sequences != 0], return_counts=True)
        return Columns(items.astype(np.int64), counts, -self.log_popularity[items])


class Full:
    """Every item of the catalogue is a negative, once: the softmax that ranking asks for.

    Args:
        splits: whose catalogue it is.
    """

    hide_own = False

    def __init__(self, splits: Splits) -> None:
        items = splits.catalogue.astype(np.int64)
        bias = np.zeros(len(items), dtype=np.float32)
        self._columns = Columns(items, np.ones_like(items), bias)

    def columns(self, sequences: NDArray[np.int32], seed: tuple[int, ...]) -> Columns:
        """The whole catalogue."""
        return self._columns


class Sampled:
    """Items drawn for each step are the negatives, the log of their expected number taken off.

    That makes the softmax over a sample an estimate of the full one (Bengio & Senécal 2003; Yi et al. 2019). A
    row's own target counts once, whether it was drawn too or not.

    Args:
        splits: whose catalogue is drawn from.
        count: K, items drawn a step.
        by: `uniform`, without replacement, so that K = C is the full softmax; `popularity`, with replacement, in
            proportion to the occurrences in training.

    Raises:
        UserError: if more items are to be drawn uniformly than there are.
    """

    hide_own = False

    def __init__(self, splits: Splits, *, count: int, by: Sampling) -> None:
        self.catalogue = splits.catalogue.astype(np.int64)
        if by == "uniform" and count > len(self.catalogue):
            raise UserError(
                f"train.sampled_items is {count}, and the catalogue has {len(self.catalogue)} items; lower it, "
                "or take --train.loss full"
            )
        self.count, self.by = count, by
        shares = np.full(len(splits.train_counts), 1 / len(self.catalogue))
        if by == "popularity":
            shares = np.exp(log_popularity(splits.train_counts).astype(np.float64))
        self.bias = -np.log(count * shares).astype(np.float32)
        self.until = np.cumsum(splits.train_counts)

    def columns(self, sequences: NDArray[np.int32], seed: tuple[int, ...]) -> Columns:
        """The batch's items, none of which counts but those drawn."""
        drawn = self._draw(np.random.default_rng(seed))
        items, places = np.unique(
            np.concatenate([sequences[sequences != 0], drawn]), return_inverse=True
        )
        counts = np.bincount(places[-len(drawn) :], minlength=len(items))
        return Columns(items, counts, self.bias[items])

    def _draw(self, rng: np.random.Generator) -> NDArray[np.int64]:
        if self.by == "uniform":
            return rng.choice(self.catalogue, self.count, replace=False, shuffle=False)
        occurrences = rng.integers(self.until[-1], size=self.count)
        return np.searchsorted(self.until, occurrences, side="right")


def log_popularity(train_counts: NDArray[np.int64]) -> NDArray[np.float32]:
    """Log of each item's share of the training interactions, (N + 1,); 0 for padding.

    Items that never occur in training are never columns of the in-batch loss; they count as one here.
    """
    shares = np.log(np.maximum(train_counts, 1) / max(train_counts.sum(), 1))
    shares[0] = 0.0
    return shares.astype(np.float32)
