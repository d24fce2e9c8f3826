"""Classification losses of action units (AUs), with missing labels masked.

B faces, A AUs. z are logits, p = σ(z), y labels, w weights of the AUs. Every loss is a mean over the labelled (face, AU)
pairs; it is 0 if there is none.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from toolkit.facs import MISSING

AULoss = Callable[[Tensor, Tensor, Tensor], Tensor]

_DICE_SMOOTHING = 1.0


def asymmetric(logits: Tensor, labels: Tensor, weights: Tensor) -> Tensor:
    """Weighted asymmetric loss: -mean w [y log p + (1 - y) p log(1 - p)], no gradient through the factor p.

    Inactive AUs that are recognised as such count less. ME-GraphAU, arXiv 2205.01782.

    Args:
        logits: (B, A).
        labels: (B, A) of 0, 1 and 9 (missing).
        weights: (A,).

    Returns:
        A scalar.
    """
    positive = labels * F.logsigmoid(logits)
    negative = (1 - labels) * logits.detach().sigmoid() * F.logsigmoid(-logits)
    return mean_of_labelled(-weights * (positive + negative), labels)


def bce_dice(logits: Tensor, labels: Tensor, weights: Tensor) -> Tensor:
    """Weighted cross-entropy and Dice loss: mean w [-y log p - (1 - y) log(1 - p) + 1 - (2 y p + 1) / (y² + p² + 1)].

    JAA-Net, arXiv 2003.08834.

    Args:
        logits: (B, A).
        labels: (B, A) of 0, 1 and 9 (missing).
        weights: (A,).

    Returns:
        A scalar.
    """
    entropy = -labels * F.logsigmoid(logits) - (1 - labels) * F.logsigmoid(-logits)
    p = logits.sigmoid()
    overlap = (2 * labels * p + _DICE_SMOOTHING) / (labels**2 + p**2 + _DICE_SMOOTHING)
    return mean_of_labelled(weights * (entropy + 1 - overlap), labels)


AU_LOSSES: dict[str, AULoss] = {"asymmetric": asymmetric, "bce-dice": bce_dice}


def mean_of_labelled(values: Tensor, labels: Tensor) -> Tensor:
    """The mean of values (B, A) over the pairs whose label is not missing; 0 if there is none."""
    labelled = labels != MISSING
    total = torch.where(labelled, values, 0).sum()
    return total / labelled.sum().clamp(min=1)
