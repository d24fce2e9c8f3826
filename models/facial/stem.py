"""The multi-scale combined facial stem feature of VL-FAU (arXiv 2408.00644): one map out of all stages of a backbone.

B faces, S stages, C_s channels of stage s, D width, h × w cells of the common grid.
"""

from collections.abc import Sequence
from typing import cast

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
        """S maps (B, C_s, h_s, w_s) -> (B, D, h, w).

        W = [V_1 … V_S] in blocks of D columns, so the sum is computed as Σ_s U(V_s W_s * X_s): a 1 × 1 convolution and U,
        which keeps constants, may change places, and V_s W_s is one small matrix.
        """
        grid = stages[self.grid_stage - 1].shape[2:]
        blocks = self.combine.weight.flatten(1).chunk(len(stages), dim=1)
        combined = [
            F.interpolate(_mixed(stage, block, projection), size=grid, mode="bilinear")
            for stage, block, projection in zip(stages, blocks, self.projections, strict=True)
        ]
        return F.relu(self.norm(torch.stack(combined).sum(0)))


def _mixed(stage: Tensor, block: Tensor, projection: nn.Module) -> Tensor:
    """V_s (W_s * X_s + b_s), as one 1 × 1 convolution."""
    own, shift = cast(Tensor, projection.weight), cast(Tensor, projection.bias)
    weight, bias = block @ own.flatten(1), block @ shift
    return F.conv2d(stage, weight[..., None, None], bias)
