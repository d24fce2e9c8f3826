"""The multi-scale combined facial stem feature of VL-FAU (arXiv 2408.00644): one map out of all stages of a backbone.

B faces, S stages, C_s channels of stage s, D width, h × w cells of the common grid.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Stem(nn.Module):
    """X = ReLU(BN(W * [U(W_1 * X_1); …; U(W_S * X_S)])), with 1 × 1 convolutions W and bilinear resizing U.

    Reconstruction: the paper combines features of several stages and does not state how. Chosen: each W_s projects its
    stage to D channels with a bias, U resizes to the grid of one stage, and W has no bias because BatchNorm follows.

    Args:
        channels: C_s of each stage, the largest grid first.
        width: D.
        grid_stage: number of the stage, from 1, whose grid the map has.

    Raises:
        ValueError: if there is no such stage.
    """

    def __init__(self, channels: Sequence[int], *, width: int, grid_stage: int) -> None:
        super().__init__()
        if not 1 <= grid_stage <= len(channels):
            raise ValueError(
                f"grid_stage is {grid_stage}; the backbone has stages 1 to {len(channels)}"
            )
        self.grid_stage = grid_stage
        self.projections = nn.ModuleList(nn.Conv2d(count, width, 1) for count in channels)
        self.combine = nn.Conv2d(len(channels) * width, width, 1, bias=False)
        self.norm = nn.BatchNorm2d(width)

    def forward(self, stages: Sequence[Tensor]) -> Tensor:
        """S maps (B, C_s, h_s, w_s) -> (B, D, h, w)."""
        grid = stages[self.grid_stage - 1].shape[2:]
        resized = [
            F.interpolate(projection(stage), size=grid, mode="bilinear", align_corners=False)
            for projection, stage in zip(self.projections, stages, strict=True)
        ]
        return F.relu(self.norm(self.combine(torch.cat(resized, dim=1))))
