"""The multi-scale combined facial stem feature of VL-FAU (arXiv 2408.00644): one map out of all stages of a backbone.

B faces, S stages, C_s channels of stage s, D width, h × w cells of the common grid.
"""

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Stem(nn.Module):
    """X = ReLU(BN(W * [U(W_1 * X_1); …; U(W_S * X_S)])), with 1 × 1 convolutions W and bilinear resizing U.

    Reconstruction: the paper combines features of several stages and does not state how. Chosen: each W_s projects its
    stage to D channels with a bias, U resizes to the grid of one stage, and W has no bias because BatchNorm follows.

    Own addition: with K > 0 cosines, P F is added to the argument of BN, with F the K² - 1 products cos(π i x) cos(π j y),
    0 <= i, j < K, of the position (x, y) of a cell in [0, 1]². A channel can then respond to a feature in one part of the
    face, which its mean over the cells keeps (compare CoordConv, arXiv 1807.03247).

    Args:
        channels: C_s of each stage, the largest grid first.
        width: D.
        grid_stage: number of the stage, from 1, whose grid the map has.
        cosines: K; 0 for none.

    Raises:
        ValueError: if there is no such stage.
    """

    def __init__(
        self, channels: Sequence[int], *, width: int, grid_stage: int, cosines: int = 0
    ) -> None:
        super().__init__()
        if not 1 <= grid_stage <= len(channels):
            raise ValueError(
                f"grid_stage is {grid_stage}; the backbone has stages 1 to {len(channels)}"
            )
        self.grid_stage = grid_stage
        self.projections = nn.ModuleList(nn.Conv2d(count, width, 1) for count in channels)
        self.combine = nn.Conv2d(len(channels) * width, width, 1, bias=False)
        self.cosines = cosines
        self.position = nn.Linear(cosines**2 - 1, width, bias=False) if cosines > 1 else None
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
        total = torch.stack(combined).sum(0)
        if self.position is not None:
            total = total + self.position(_cosines(self.cosines, total)).movedim(-1, 0)
        return F.relu(self.norm(total))


def _mixed(stage: Tensor, block: Tensor, projection: nn.Module) -> Tensor:
    """V_s (W_s * X_s + b_s), as one 1 × 1 convolution."""
    weight, bias = block @ projection.weight.flatten(1), block @ projection.bias
    return F.conv2d(stage, weight[..., None, None], bias)


def _cosines(count: int, like: Tensor) -> Tensor:
    """(h, w, K² - 1) the products of the cosines of each cell of maps (B, D, h, w)."""
    orders = torch.arange(count, device=like.device, dtype=like.dtype)
    along_y, along_x = (
        torch.cos(math.pi * ((orders.new_tensor(range(cells)) + 0.5) / cells)[:, None] * orders)
        for cells in like.shape[2:]
    )
    products = along_y[:, None, :, None] * along_x[None, :, None, :]
    return products.flatten(2)[..., 1:]
