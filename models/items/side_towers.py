"""The towers of the side network: an intra tower per encoder, and an inter tower that mixes all encoders.

IISAN, arXiv 2404.02059; IISAN-Versa, arXiv 2411.02992.

U items, T towers, K kept states (the embedding output first), D width, E embedding.
"""

from collections.abc import Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn

from models.items.part_names import by_tower
from models.items.side_blocks import Activation, Gates, MixtureGates, make_blocks
from models.parameters import in_group
from toolkit.towers import TowerSpec

Mixing = Literal["gated", "sum"]


class IntraTower(nn.Module):
    """The side tower of one encoder: f_i = g_i·h_i + (1-g_i)·s_{i-1}, s_i = SANB_i(f_i), s_{-1} = 0.

    With `sum` there are no gates: f_i = h_i + s_{i-1}.

    Args:
        spec: the tower.
        blocks: one SANB per kept state.
        embedding_dim: E.
        mixing: `gated` or `sum`.
        wide_head: whether the first of the two head layers keeps the tower's width D, as in IISAN. If false, it projects
            to E, as in IISAN-Versa.
    """

    def __init__(
        self,
        spec: TowerSpec,
        blocks: nn.ModuleList,
        *,
        embedding_dim: int,
        mixing: Mixing,
        wide_head: bool,
    ) -> None:
        super().__init__()
        image = spec.modality == "image"
        hidden = spec.width if wide_head else embedding_dim
        self.blocks = in_group(blocks, "side_block")
        self.gates: Gates | None = None
        if mixing == "gated":
            self.gates = in_group(Gates(spec.layers), "image_gate" if image else "base")
        self.head = in_group(nn.Linear(spec.width, hidden), "image_head" if image else "text_head")
        self.project = nn.Linear(hidden, embedding_dim)

    def side(self, states: Tensor) -> Tensor:
        """The last side state: (U, K, D) -> (U, D)."""
        gates = None if self.gates is None else self.gates()
        side = torch.zeros_like(states[:, 0])
        for level, block in enumerate(self.blocks):
            state = states[:, level]
            side = block(side + state if gates is None else torch.lerp(side, state, gates[level]))
        return side

    def forward(self, side: Tensor) -> Tensor:
        """The embedding of a last side state: (U, D) -> (U, E)."""
        return self.project(self.head(side))


class InterTower(nn.Module):
    """The inter tower, which mixes all encoders: s_i = SANB_i(s_{i-1} + Σ_t w_{i,t}·h_{i,t}), s_{-1} = 0.

    For two towers, w_i = (1-g_i, g_i): the gate weights the second tower, which is the image tower in the order text,
    image. For three or more, w_i is a softmax. With `sum` there are no gates and every weight is 1. Towers of unequal
    depth are aligned from the top. Wider states are projected to the narrowest width by one Linear per level (dimension
    transformation alignment).

    Args:
        specs: two or more towers.
        embedding_dim: E.
        bottleneck: inner width of its blocks.
        activation: activation of its blocks.
        dropout: dropout probability of its blocks.
        mixing: `gated` or `sum`.
    """

    def __init__(
        self,
        specs: Sequence[TowerSpec],
        *,
        embedding_dim: int,
        bottleneck: int,
        activation: Activation,
        dropout: float,
        mixing: Mixing,
    ) -> None:
        super().__init__()
        self.levels = min(spec.layers for spec in specs)
        self.towers = len(specs)
        width = min(spec.width for spec in specs)
        self.projections = by_tower(
            [spec.name for spec in specs],
            (
                nn.ModuleList(
                    nn.Linear(spec.width, width) if spec.width > width else nn.Identity()
                    for _ in range(self.levels)
                )
                for spec in specs
            ),
        )
        self.blocks = in_group(
            make_blocks(self.levels, width, bottleneck, activation, dropout), "side_block"
        )
        self.gates: Gates | MixtureGates | None = None
        if mixing == "gated":
            two = self.towers == 2
            self.gates = Gates(self.levels) if two else MixtureGates(self.levels, self.towers)
        self.head = nn.Linear(width, width)
        self.project = nn.Linear(width, embedding_dim)

    def weights(self) -> Tensor:
        """Weight of every tower at every level, (levels, T)."""
        if self.gates is None:
            return self.head.weight.new_ones(self.levels, self.towers)
        gates = self.gates()
        return torch.stack([1 - gates, gates], dim=1) if gates.dim() == 1 else gates

    def side(self, towers: Sequence[Tensor]) -> Tensor:
        """The last side state: T tensors (U, K_t, D_t) -> (U, D)."""
        weights = self.weights()
        top = [states[:, states.shape[1] - self.levels :] for states in towers]
        projections: list[nn.ModuleList] = list(self.projections.values())  # type: ignore[arg-type]
        side: Any = 0.0
        for level, block in enumerate(self.blocks):
            mixed = sum(
                weights[level, t] * projections[t][level](states[:, level])
                for t, states in enumerate(top)
            )
            side = block(side + mixed)
        return side

    def forward(self, side: Tensor) -> Tensor:
        """The embedding of a last side state: (U, D) -> (U, E)."""
        return self.project(self.head(side))
