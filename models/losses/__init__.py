"""Training losses and objectives.

An objective selects the predicted positions and their inputs. A loss selects the candidate items (the columns of a step)
and computes a scalar. `LOSSES` and `OBJECTIVES` map their names to their declarations.
"""

from models.losses.candidates import Full, InBatch, Sampled
from models.losses.kind import LossKind, ObjectiveKind
from models.losses.loss import Columns, Loss, LossInputs
from models.losses.objectives import MASK, Examples, last_item, masked_item, next_item
from models.losses.pairwise import BCE, BPR, GBCE

_NEGATIVES = {"count": "negatives_per_target", "by": "sampled_by"}
LOSSES: dict[str, LossKind] = {
    "in-batch": LossKind(InBatch),
    "full": LossKind(Full, encodes_catalogue=True),
    "sampled": LossKind(Sampled, reads={"count": "sampled_items", "by": "sampled_by"}),
    "bce": LossKind(BCE, reads=_NEGATIVES),
    "gbce": LossKind(GBCE, reads=_NEGATIVES),
    "bpr": LossKind(BPR, reads=_NEGATIVES),
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
