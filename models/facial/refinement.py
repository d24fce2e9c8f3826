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
    """The maps X + M^s_a ⊙ M^c_a ⊙ X of the AUs, whose A · D channels are only computed where they are needed.

    Args:
        stem: (B, D, h, w) X.
        channel: (B, A, D) channel attention M^c, in [0, 1].
        attention: (B, A, h, w) spatial attention M^s, in [0, 1].
    """

    stem: Tensor
    channel: Tensor
    attention: Tensor

    def some(self, faces: slice) -> "Refined":
        """The maps of some faces."""
        return Refined(*(part[faces] for part in self))

    def means(self) -> Tensor:
        """(B, A, D) the mean of each map over its cells: mean(X) + M^c_a ⊙ mean(M^s_a ⊙ X)."""
        cells = self.stem.flatten(2)
        attended = self.attention.flatten(2) @ cells.mT / cells.shape[2]
        return cells.mean(2)[:, None] + self.channel * attended

    def maps(self) -> Tensor:
        """(B, A, D, h, w)."""
        scale = self.channel[..., None, None] * self.attention[:, :, None]
        return self.stem[:, None] * (1 + scale)


class Unrefined(NamedTuple):
    """The same map X for all AUs, in place of `Refined`.

    Args:
        stem: (B, D, h, w) X.
        aus: A.
        attention: None.
    """

    stem: Tensor
    aus: int
    attention: None = None

    def some(self, faces: slice) -> "Unrefined":
        """The maps of some faces."""
        return self._replace(stem=self.stem[faces])

    def means(self) -> Tensor:
        """(B, A, D) the mean of X over its cells."""
        return self.stem.mean((2, 3))[:, None].expand(-1, self.aus, -1)

    def maps(self) -> Tensor:
        """(B, A, D, h, w)."""
        return self.stem[:, None].expand(-1, self.aus, -1, -1, -1)


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

    def forward(self, stem: Tensor, channel: Tensor) -> Tensor:
        """Stem (B, D, h, w) and channel attention (B, A, D), whose product is X_a -> (B, A, h, w) in [0, 1]."""
        cells = stem.flatten(2)
        mean = channel @ cells / cells.shape[1]
        largest = _largest(cells, channel)
        maximum = cells.gather(1, largest) * channel.gather(2, largest)
        pooled = torch.stack([mean, maximum], dim=2).unflatten(3, stem.shape[2:])
        return torch.sigmoid(self._convolved(pooled.flatten(1, 2)))

    def _convolved(self, pooled: Tensor) -> Tensor:
        """(B, 2 A, h, w) -> (B, A, h, w): two maps at a time, each by its own kernel, which is faster than in groups of two."""
        weight, bias = self.convolution.weight.flatten(0, 1)[:, None], self.convolution.bias
        assert bias is not None  # of the constructor
        padding = self.convolution.padding
        each = F.conv2d(pooled, weight, padding=padding, groups=len(weight))
        return each.unflatten(1, (-1, 2)).sum(2) + bias[:, None, None]


def _largest(cells: Tensor, channel: Tensor) -> Tensor:
    """(B, A, h · w) the channel with the largest product in each cell; one AU at a time, which fits the cache."""
    with torch.no_grad():
        products = (cells * one[..., None] for one in channel.unbind(1))
        return torch.stack([product.max(1).indices for product in products], dim=1)


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
        """(B, D, h, w) -> the maps of all AUs."""
        channel = self.channel(stem)
        return Refined(stem, channel, self.spatial(stem, channel))
