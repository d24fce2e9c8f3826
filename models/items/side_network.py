"""IISAN-Versa: a decoupled side network over frozen encoders' hidden states.

IISAN, arXiv 2404.02059; IISAN-Versa, arXiv 2411.02992. The encoders are never differentiated: the
network reads their kept hidden states and is all that trains on the item side.

U items, T towers, K kept states (the embedding output first), D width, E embedding.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn

from models.parameters import in_group
from toolkit.towers import TowerSpec

TEMPERATURE = 0.1
Activation = Literal["relu", "gelu"]
ACTIVATIONS: dict[str, type[nn.Module]] = {"relu": nn.ReLU, "gelu": nn.GELU}


class SANB(nn.Module):
    """Side adapted network block: y = x + W_up · act(W_down · x).  (U, D) -> (U, D).

    Args:
        width: D.
        bottleneck: width of the inner layer.
        activation: `relu` or `gelu`.
    """

    def __init__(self, width: int, bottleneck: int, *, activation: Activation = "relu") -> None:
        super().__init__()
        self.down = nn.Linear(width, bottleneck)
        self.up = nn.Linear(bottleneck, width)
        self.activation = ACTIVATIONS[activation]()
        for linear in (self.down, self.up):
            nn.init.normal_(linear.weight, std=0.01)
            nn.init.zeros_(linear.bias)

    def forward(self, x: Tensor) -> Tensor:
        """(U, D) -> (U, D)."""
        return x + self.up(self.activation(self.down(x)))


class Gates(nn.Module):
    """One scalar gate a level: g_i = sigmoid(μ_i / 0.1), μ_i = 0 at the start.

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
    """Weights of three or more towers a level: softmax(μ_i / 0.1), μ_i = 0 at the start.

    Args:
        levels: K.
        towers: T.
    """

    def __init__(self, levels: int, towers: int) -> None:
        super().__init__()
        self.logits = nn.Parameter(torch.zeros(levels, towers))

    def forward(self) -> Tensor:
        """The weights, (K, T), each row summing to 1."""
        return torch.softmax(self.logits / TEMPERATURE, dim=1)


class Widening(nn.Module):
    """Brings the states of a hierarchical encoder to one width: a Linear for each narrower one.

    Both the intra and the inter tower read what it gives.

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
        """(U, K, D), zeros beyond a state's own width -> (U, K, D)."""
        levels = zip(self.projections, states.unbind(dim=1), self.widths, strict=True)
        return torch.stack([project(state[:, :width]) for project, state, width in levels], dim=1)


class IntraTower(nn.Module):
    """The side tower of one tower: f_i = g_i·h_i + (1-g_i)·s_{i-1}, s_i = SANB_i(f_i), s_{-1} = 0.

    Args:
        spec: the tower.
        embedding_dim: E.
        bottleneck: of its blocks.
        activation: of its blocks.
    """

    def __init__(
        self, spec: TowerSpec, *, embedding_dim: int, bottleneck: int, activation: Activation
    ) -> None:
        super().__init__()
        image = spec.modality == "image"
        self.blocks = in_group(
            nn.ModuleList(
                SANB(spec.width, bottleneck, activation=activation) for _ in range(spec.layers)
            ),
            "side_block",
        )
        self.gates = in_group(Gates(spec.layers), "image_gate" if image else "base")
        self.head = in_group(
            nn.Linear(spec.width, embedding_dim), "image_head" if image else "text_head"
        )
        self.project = nn.Linear(embedding_dim, embedding_dim)

    def forward(self, states: Tensor) -> Tensor:
        """(U, K, D) -> (U, E)."""
        gates = self.gates()
        side = torch.zeros_like(states[:, 0])
        for level, block in enumerate(self.blocks):
            side = block(torch.lerp(side, states[:, level], gates[level]))
        return self.project(self.head(side))


class InterTower(nn.Module):
    """The tower between towers: s_i = SANB_i(s_{i-1} + Σ_t w_{i,t}·h_{i,t}), s_{-1} = 0.

    Two towers: w_i = (1-g_i, g_i), so the gate weighs the second (the image, where towers are given
    as text, image). Three or more: a softmax. Towers of unequal depth are aligned from the top;
    wider ones are projected to the narrowest width, one Linear a level (dimension transformation
    alignment).

    Args:
        specs: two towers or more.
        embedding_dim: E.
        bottleneck: of its blocks.
        activation: of its blocks.
    """

    def __init__(
        self,
        specs: Sequence[TowerSpec],
        *,
        embedding_dim: int,
        bottleneck: int,
        activation: Activation,
    ) -> None:
        super().__init__()
        self.levels = min(spec.layers for spec in specs)
        width = min(spec.width for spec in specs)
        self.projections = nn.ModuleList(
            nn.ModuleList(
                nn.Linear(spec.width, width) if spec.width > width else nn.Identity()
                for _ in range(self.levels)
            )
            for spec in specs
        )
        self.blocks = in_group(
            nn.ModuleList(
                SANB(width, bottleneck, activation=activation) for _ in range(self.levels)
            ),
            "side_block",
        )
        two = len(specs) == 2
        self.gates = Gates(self.levels) if two else MixtureGates(self.levels, len(specs))
        self.head = nn.Linear(width, width)
        self.project = nn.Linear(width, embedding_dim)

    def weights(self) -> Tensor:
        """Weight of every tower at every level, (levels, T)."""
        gates = self.gates()
        return torch.stack([1 - gates, gates], dim=1) if gates.dim() == 1 else gates

    def forward(self, towers: Sequence[Tensor]) -> Tensor:
        """T tensors (U, K_t, D_t) -> (U, E)."""
        weights = self.weights()
        top = [states[:, states.shape[1] - self.levels :] for states in towers]
        side: Tensor | float = 0.0
        for level, block in enumerate(self.blocks):
            mixed = sum(
                weights[level, t] * self.projections[t][level](states[:, level])  # type: ignore[index]
                for t, states in enumerate(top)
            )
            side = block(side + mixed)
        return self.project(self.head(side))


class SideNetwork(nn.Module):
    """Item embeddings from frozen hidden states: an intra tower each, an inter tower, and a fusion.

    One tower gives no inter tower; two give the published IISAN-Versa; more share a softmax gate.
    Where the states of a tower differ in width, each narrower one first gets a Linear of its own.

    Args:
        towers: at least one, with distinct names.
        embedding_dim: E.
        bottleneck: inner width of the side blocks, one for all or one a tower by name.
        inter_bottleneck: that of the inter tower; that of the narrowest tower by default.
        activation: `relu` (the papers') or `gelu`.

    Raises:
        ValueError: if there is no tower, a name comes twice, or a bottleneck is missing.
    """

    def __init__(
        self,
        towers: Sequence[TowerSpec],
        *,
        embedding_dim: int = 64,
        bottleneck: int | Mapping[str, int] = 64,
        inter_bottleneck: int | None = None,
        activation: Activation = "relu",
    ) -> None:
        super().__init__()
        names = [spec.name for spec in towers]
        if not names or len(set(names)) != len(names):
            raise ValueError(f"towers must be at least one, with distinct names, got {names}")
        if activation not in ACTIVATIONS:
            raise ValueError(
                f"activation {activation!r} is unknown; use one of {list(ACTIVATIONS)}"
            )
        bottlenecks = (
            {name: bottleneck for name in names}
            if isinstance(bottleneck, int)
            else dict(bottleneck)
        )
        if set(bottlenecks) != set(names):
            raise ValueError(
                f"bottleneck names {sorted(bottlenecks)}, the towers are {sorted(names)}"
            )
        self.specs = tuple(towers)
        self.embedding_dim = embedding_dim
        self.bottlenecks = bottlenecks
        self.activation: Activation = activation
        self.intra = nn.ModuleList(
            IntraTower(
                spec,
                embedding_dim=embedding_dim,
                bottleneck=bottlenecks[spec.name],
                activation=activation,
            )
            for spec in towers
        )
        self.widenings = nn.ModuleList(
            Widening(spec) if spec.widths else nn.Identity() for spec in towers
        )
        narrowest = min(towers, key=lambda spec: spec.width)
        self.inter_bottleneck = inter_bottleneck or bottlenecks[narrowest.name]
        self.inter: InterTower | None = None
        if len(names) > 1:
            self.inter = InterTower(
                towers,
                embedding_dim=embedding_dim,
                bottleneck=self.inter_bottleneck,
                activation=activation,
            )
        parts = len(names) + (self.inter is not None)
        self.fusion = nn.Linear(parts * embedding_dim, embedding_dim)

    def settings(self) -> dict[str, Any]:
        """What `SideNetwork(**settings)` needs to be built again, as JSON can hold it."""
        return {
            "towers": [vars(spec) for spec in self.specs],
            "embedding_dim": self.embedding_dim,
            "bottleneck": self.bottlenecks,
            "inter_bottleneck": self.inter_bottleneck,
            "activation": self.activation,
        }

    def parts(self, states: Mapping[str, Tensor]) -> list[Tensor]:
        """What the fusion joins: T intra embeddings in the towers' order, then the inter one; each (U, E).

        Args:
            states: (U, K, D) of every tower by name, of any floating type.

        Raises:
            ValueError: if a tower is absent or has another shape than its spec.
        """
        specs = zip(self.widenings, self.specs, strict=True)
        inputs = [widen(self._checked(spec, states)) for widen, spec in specs]
        parts = [tower(x) for tower, x in zip(self.intra, inputs, strict=True)]
        return parts if self.inter is None else [*parts, self.inter(inputs)]

    def forward(self, states: Mapping[str, Tensor]) -> Tensor:
        """`{name: (U, K, D)}` -> (U, E)."""
        return self.fusion(torch.cat(self.parts(states), dim=1))

    def _checked(self, spec: TowerSpec, states: Mapping[str, Tensor]) -> Tensor:
        if spec.name not in states:
            raise ValueError(f"states of tower {spec.name!r} are absent (given: {sorted(states)})")
        tensor = states[spec.name]
        if tensor.shape[1:] != (spec.layers, spec.width):
            raise ValueError(
                f"states of tower {spec.name!r} have shape {tuple(tensor.shape)}, "
                f"expected (U, {spec.layers}, {spec.width})"
            )
        return tensor.to(self.fusion.weight.dtype)
