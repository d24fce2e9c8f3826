"""What one training step of one process reads."""

from dataclasses import dataclass
from typing import Any

from torch import Tensor


@dataclass(frozen=True)
class Batch:
    """What one training step of one process reads. Every item stands in it once.

    Args:
        features: what the item encoder reads for the U items that this process encodes.
        places: (B, L + 1) for each position, 1 + the index of its item among the columns; 0 is
            padding.
        rows: (R,) the positions, among the flattened (B, L), that have a next item; or all, where sizes are fixed.
        weights: (R,) of each in the loss; 0 without a next item. The mean of all processes' losses is the mean over
            all their positions.
        bias: (M + 1,) added to the logits of each column; index 0 is padding.
        log_counts: (M + 1,) log of how often each column counts; -inf for padding.
        hide_own: whether columns of a row's own sequence are masked.
        shared: whether the M columns are those that all processes encode, U each, rather than this one's U.
        items: (U,) the numbers of the items.
        share: of this step's loss in its update; 1 unless gradients are accumulated.
    """

    features: Any
    places: Tensor
    rows: Tensor
    weights: Tensor
    bias: Tensor
    log_counts: Tensor
    hide_own: bool
    shared: bool
    items: Tensor
    share: float = 1.0
