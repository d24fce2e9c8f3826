"""The training losses: which positions are predicted (objectives), over which items (columns), at what loss.

`LOSSES` and `OBJECTIVES` hold their declarations by name.
"""

from models.losses.candidates import Full, InBatch, Sampled
from models.losses.kind import LossKind, ObjectiveKind
from models.losses.loss import Columns, Loss, LossInputs
from models.losses.objectives import MASK, Examples, last_item, masked_item, next_item

LOSSES: dict[str, LossKind] = {
    "in-batch": LossKind(InBatch),
    "full": LossKind(Full, encodes_catalogue=True),
    "sampled": LossKind(Sampled, reads={"count": "sampled_items", "by": "sampled_by"}),
}
OBJECTIVES: dict[str, ObjectiveKind] = {
    "next-item": ObjectiveKind(next_item),
    "last-item": ObjectiveKind(last_item),
    "masked-item": ObjectiveKind(masked_item, reads={"mask_ratio": "mask_ratio"}, masks=True),
}

__all__ = [
    "LOSSES",
    "MASK",
    "OBJECTIVES",
    "Columns",
    "Examples",
    "Loss",
    "LossInputs",
    "LossKind",
    "ObjectiveKind",
]
