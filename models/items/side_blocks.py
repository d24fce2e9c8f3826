"""Building blocks of the side network: side blocks, gates, and projections of narrower states.

U items, T towers, K kept states, D width.
"""

from typing import Literal

import torch
from torch import Tensor, nn

from toolkit.towers import TowerSpec

TEMPERATURE = 0.1
Activation = Literal["relu", "gelu"]
ACTIVATIONS: dict[str, type[nn.Module]] = {"relu": nn.ReLU, "gelu": nn.GELU}


class SANB(nn.Module):
    """Side adapted network block: y = x + W_up · dropout(act(W_down · x)).  (U, D) -> (U, D).

    Args:
        width: D.
        bottleneck: width of the inner layer.
        activation: `relu` or `gelu`.
        dropout: dropout probability of the inner layer.
    """

    def __init__(
        self,
        width: int,
        bottleneck: int,
        *,
        activation: Activation = "relu",
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.down = nn.Linear(width, bottleneck)
        self.up = nn.Linear(bottleneck, width)
        self.activation = ACTIVATIONS[activation]()
        self.dropout = nn.Dropout(dropout)
        for linear in (self.down, self.up):
            nn.init.normal_(linear.weight, std=0.01)
            nn.init.zeros_(linear.bias)

    def forward(self, x: Tensor) -> Tensor:
        """(U, D) -> (U, D)."""
        return x + self.up(self.dropout(self.activation(self.down(x))))


class Gates(nn.Module):
    """One scalar gate per level: g_i = sigmoid(μ_i / 0.1), with μ_i initialised to 0.

    Args:
        levels: K.
    """

    def __init__(self, levels: int) -> None:
        super().__init__()
        self.logits = nn.Parameter(torch.zeros(levels))

    def forward(self) -> Tensor:
        """The gates, (K,)."""
        return torch.sigmoid(self.logits / TEMPERATURE)


class MixtureGates(nn.Module):
    """Weights of three or more towers per level: softmax(μ_i / 0.1), with μ_i initialised to 0.

    Args:
        levels: K.
        towers: T.
    """

    def __init__(self, levels: int, towers: int) -> None:
        super().__init__()
        self.logits = nn.Parameter(torch.zeros(levels, towers))

    def forward(self) -> Tensor:
        """The weights, (K, T); each row sums to 1."""
        return torch.softmax(self.logits / TEMPERATURE, dim=1)


class Widening(nn.Module):
    """Projects the states of a hierarchical encoder to one width, with one Linear per narrower state.

    Both the intra and the inter tower read its output.

    Args:
        spec: a tower with `widths`.
    """

    def __init__(self, spec: TowerSpec) -> None:
        super().__init__()
        self.widths = spec.widths or (spec.width,) * spec.layers
        self.projections = nn.ModuleList(
            nn.Linear(width, spec.width) if width < spec.width else nn.Identity()
            for width in self.widths
        )

    def forward(self, states: Tensor) -> Tensor:
        """(U, K, D), with zeros beyond a state's own width -> (U, K, D)."""
        levels = zip(self.projections, states.unbind(dim=1), self.widths, strict=True)
        return torch.stack([project(state[:, :width]) for project, state, width in levels], dim=1)


def make_blocks(
    count: int, width: int, bottleneck: int, activation: Activation, dropout: float
) -> nn.ModuleList:
    """Builds `count` SANBs of the same width."""
    return nn.ModuleList(
        SANB(width, bottleneck, activation=activation, dropout=dropout) for _ in range(count)
    )
