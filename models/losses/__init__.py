"""The training losses: what is predicted (objectives), over which items (columns), and the loss of it."""

from models.losses.kinds import LOSSES, LossKind
from models.losses.loss import Columns, Loss, LossInputs
from models.losses.objectives import MASK, OBJECTIVES, Examples, ObjectiveKind

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
