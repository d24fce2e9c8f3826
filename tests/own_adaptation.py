"""An adaptation method outside of the package, in one file: a scale and a shift of what each part of a layer adds."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from models.adaptation import ADAPTATIONS, AdaptationKind, Target
from models.adaptation.attached import Attached, Serial
from models.adaptation.bottlenecks import Places, attach_everywhere


@dataclass
class ScaleShiftSettings:
    """Scales and shifts.

    Args:
        places: in which parts of a layer: attention, feed-forward or both.
    """

    places: Places = "both"


class ScaleShift(nn.Module):
    """γ ⊙ h + β, both zeros at first; `Serial` adds h: SSF (arXiv 2210.08823).

    Args:
        width: D.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.zeros(width))
        self.shift = nn.Parameter(torch.zeros(width))

    def forward(self, states: Tensor) -> Tensor:
        """(B, S, D) -> (B, S, D)."""
        return self.scale * states + self.shift


def scale_shift(target: Target, settings: ScaleShiftSettings) -> None:
    """Adds them to every layer that the outputs depend on, in the group `adapter`."""

    def make(width: int) -> Attached:
        return Serial(ScaleShift(width))

    attach_everywhere(target, settings.places, make)


ADAPTATIONS["scale-shift"] = AdaptationKind(
    settings=ScaleShiftSettings,
    apply=scale_shift,
    groups=("adapter",),
    needs=("transformer layers",),
)
