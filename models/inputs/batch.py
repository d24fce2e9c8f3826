"""The training batch of one step and process."""

from dataclasses import dataclass
from typing import Any

from torch import Tensor

from models.losses.loss import LossInputs


@dataclass(frozen=True, kw_only=True)
class Batch(LossInputs):
    """The training batch of one step and process: the inputs of the loss, and the items to encode.

    Args:
        features: inputs of the item encoder for the U distinct items that this process encodes.
        items: (U,) item numbers.
        shared: whether the M columns of the loss are the items of all processes, U per process, or only this
            process's U items.
        share: weight of this step's loss in its update; 1 without gradient accumulation.
        times: (B, L) time of each input in milliseconds since 1970, 0 at padding; None if they were not read.
        users: (B,) row of the user of each sequence in a table of the training users, from 1; None if the model reads none.
    """

    features: Any
    items: Tensor
    shared: bool
    share: float = 1.0
    times: Tensor | None = None
    users: Tensor | None = None
