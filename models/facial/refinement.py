"""Dual-level individual refinement of VL-FAU (arXiv 2408.00644): one branch per action unit (AU).

The two levels are the attentions of CBAM (arXiv 1807.06521), with weights of each AU's own. All branches are computed in
one product or one grouped convolution.

B faces, A AUs, D width, h × w cells, R inner width.
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.facial.per_au import PerAULinear


class Refined(NamedTuple):
    """The maps of the AUs.

    Args:
        maps: (B, A, D, h, w) refined features.
        attention: (B, A, h, w) spatial attention, in [0, 1].
    """

    maps: Tensor
    attention: Tensor


class ChannelAttention(nn.Module):
    """M_a = σ(MLP_a(mean(X)) + MLP_a(max(X))), with mean and max over cells and MLP_a(x) = V_a ReLU(W_a x + b_a) + c_a.

    CBAM, equation 2.

    Args:
        aus: A.
        width: D.
        inner_width: R.
    """

    def __init__(self, aus: int, *, width: int, inner_width: int) -> None:
        super().__init__()
        self.aus = aus
        self.reduce = PerAULinear(aus, width, inner_width)
        self.expand = PerAULinear(aus, inner_width, width)

    def forward(self, stem: Tensor) -> Tensor:
        """(B, D, h, w) -> (B, A, D) in [0, 1]."""
        pooled = torch.stack([stem.mean((2, 3)), stem.amax((2, 3))])
        each = pooled.flatten(0, 1)[:, None].expand(-1, self.aus, -1)  # (2 B, A, D)
        mean, maximum = self.expand(F.relu(self.reduce(each))).chunk(2)
        return torch.sigmoid(mean + maximum)


class SpatialAttention(nn.Module):
    """M_a = σ(k_a * [mean(X_a); max(X_a)] + b_a), with mean and max over channels and a K × K kernel k_a.

    CBAM, equation 3; there K is 7.

    Args:
        aus: A.
        kernel: K, odd.

    Raises:
        ValueError: if K is even.
    """

    def __init__(self, aus: int, *, kernel: int) -> None:
        super().__init__()
        if kernel < 1 or kernel % 2 == 0:
            raise ValueError(f"kernel is {kernel}; it must be odd, so that the map keeps its size")
        self.convolution = nn.Conv2d(2 * aus, aus, kernel, padding=kernel // 2, groups=aus)

    def forward(self, maps: Tensor) -> Tensor:
        """(B, A, D, h, w) -> (B, A, h, w) in [0, 1]."""
        pooled = torch.stack([maps.mean(2), maps.amax(2)], dim=2)
        return torch.sigmoid(self.convolution(pooled.flatten(1, 2)))


class Refinement(nn.Module):
    """X'_a = M_a^c ⊙ X, then X''_a = M_a^s(X'_a) ⊙ X'_a, and the refined map is X + X''_a.

    M^c is the channel attention and M^s the spatial attention. Reconstruction: the paper names the two levels and their
    order. Chosen: CBAM's attentions, and the residual from the stem's map.

    Args:
        aus: A.
        width: D.
        reduction: D / R of the channel attention.
        kernel: K of the spatial attention.

    Raises:
        ValueError: if D is not divisible by `reduction`, or K is even.
    """

    def __init__(self, aus: int, *, width: int, reduction: int = 16, kernel: int = 7) -> None:
        super().__init__()
        if reduction < 1 or width % reduction:
            raise ValueError(f"width {width} is not divisible by reduction {reduction}")
        self.channel = ChannelAttention(aus, width=width, inner_width=width // reduction)
        self.spatial = SpatialAttention(aus, kernel=kernel)

    def forward(self, stem: Tensor) -> Refined:
        """(B, D, h, w) -> maps (B, A, D, h, w) and attention (B, A, h, w)."""
        weighted = self.channel(stem)[..., None, None] * stem[:, None]
        attention = self.spatial(weighted)
        return Refined(stem[:, None] + attention[:, :, None] * weighted, attention)
