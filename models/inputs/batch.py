"""What one training step of one process reads."""

from dataclasses import dataclass
from typing import Any

from torch import Tensor

from models.losses.loss import LossInputs


@dataclass(frozen=True, kw_only=True)
class Batch(LossInputs):
    """What one training step of one process reads: what its loss reads, and the items of the table.

    Args:
        features: what the item encoder reads for the U items that this process encodes. Each item occurs once.
        items: (U,) the numbers of these items.
        shared: whether the M columns are those that all processes encode, U each, rather than this one's U.
        share: of this step's loss in its update; 1 unless gradients are accumulated.
    """

    features: Any
    items: Tensor
    shared: bool
    share: float = 1.0
