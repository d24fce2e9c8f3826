"""IISAN-Versa: a decoupled side network over frozen encoders' hidden states.

IISAN, arXiv 2404.02059; IISAN-Versa, arXiv 2411.02992. The encoders are never differentiated: the
network reads their kept hidden states and is all that trains on the item side.

U items, T towers, K kept states (the embedding output first), D width, E embedding.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn

from models.items.side_blocks import Activation, Gates, MixtureGates, Widening, make_blocks
from models.parameters import in_group
from toolkit.towers import TowerSpec

Parts = Literal["intra", "inter", "both"]
Mixing = Literal["gated", "sum"]
INTER = "inter"  # the tower between towers, among the towers' names


class IntraTower(nn.Module):
    """The side tower of one tower: f_i = g_i·h_i + (1-g_i)·s_{i-1}, s_i = SANB_i(f_i), s_{-1} = 0.

    With `sum` there are no gates: f_i = h_i + s_{i-1}.

    Args:
        spec: the tower.
        blocks: one SANB a kept state.
        embedding_dim: E.
        mixing: `gated` or `sum`.
        wide_head: whether the first of the two head layers keeps the tower's width D (IISAN), or goes to E
            at once (IISAN-Versa).
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
        between = spec.width if wide_head else embedding_dim
        self.blocks = in_group(blocks, "side_block")
        self.gates: Gates | None = None
        if mixing == "gated":
            self.gates = in_group(Gates(spec.layers), "image_gate" if image else "base")
        self.head = in_group(nn.Linear(spec.width, between), "image_head" if image else "text_head")
        self.project = nn.Linear(between, embedding_dim)

    def forward(self, states: Tensor) -> Tensor:
        """(U, K, D) -> (U, E)."""
        gates = None if self.gates is None else self.gates()
        side = torch.zeros_like(states[:, 0])
        for level, block in enumerate(self.blocks):
            state = states[:, level]
            side = block(side + state if gates is None else torch.lerp(side, state, gates[level]))
        return self.project(self.head(side))


class InterTower(nn.Module):
    """The tower between towers: s_i = SANB_i(s_{i-1} + Σ_t w_{i,t}·h_{i,t}), s_{-1} = 0.

    Two towers: w_i = (1-g_i, g_i), so the gate weighs the second (the image, where towers are given
    as text, image). Three or more: a softmax. With `sum` there are no gates, and every weight is 1.
    Towers of unequal depth are aligned from the top; wider ones are projected to the narrowest
    width, one Linear a level (dimension transformation alignment).

    Args:
        specs: two towers or more.
        embedding_dim: E.
        bottleneck: of its blocks.
        activation: of its blocks.
        dropout: of its blocks.
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
        self.projections = nn.ModuleList(
            nn.ModuleList(
                nn.Linear(spec.width, width) if spec.width > width else nn.Identity()
                for _ in range(self.levels)
            )
            for spec in specs
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
    The papers' ablations: the intra towers or the inter tower alone (`parts`), and no gates (`mixing`).

    Args:
        towers: at least one, with distinct names.
        embedding_dim: E.
        bottleneck: inner width of the side blocks, one for all or one a tower by name.
        inter_bottleneck: that of the inter tower; that of the narrowest tower by default.
        activation: `relu` (the papers') or `gelu`.
        dropout: of the side blocks' inner layer, while training.
        parts: `intra`, `inter` or `both`.
        mixing: `gated`; or `sum`, which adds a level's states to the side state as they are.
        wide_heads: whether the first head layer of an intra tower keeps the tower's width, as in IISAN
            (arXiv 2404.02059); IISAN-Versa's goes to E at once.

    Raises:
        ValueError: if there is no tower, a name comes twice, a bottleneck is missing, a word is unknown, or
            the inter tower alone is asked for where there is one tower.
    """

    def __init__(
        self,
        towers: Sequence[TowerSpec],
        *,
        embedding_dim: int = 64,
        bottleneck: int | Mapping[str, int] = 64,
        inter_bottleneck: int | None = None,
        activation: Activation = "relu",
        dropout: float = 0.0,
        parts: Parts = "both",
        mixing: Mixing = "gated",
        wide_heads: bool = False,
    ) -> None:
        super().__init__()
        names = [spec.name for spec in towers]
        _check_names(names, parts)
        _check_word("activation", activation, Activation)
        _check_word("parts", parts, Parts)
        _check_word("mixing", mixing, Mixing)
        self.specs = tuple(towers)
        self.embedding_dim = embedding_dim
        self.bottlenecks = _by_name(bottleneck, names)
        self.activation: Activation = activation
        self.dropout = dropout
        self.only: Parts = parts
        self.mixing: Mixing = mixing
        self.wide_heads = wide_heads
        self.intra = nn.ModuleList(
            IntraTower(
                spec,
                make_blocks(
                    spec.layers, spec.width, self.bottlenecks[spec.name], activation, dropout
                ),
                embedding_dim=embedding_dim,
                mixing=mixing,
                wide_head=wide_heads,
            )
            for spec in towers
            if parts != "inter"
        )
        self.widenings = nn.ModuleList(
            Widening(spec) if spec.widths else nn.Identity() for spec in towers
        )
        narrowest = min(towers, key=lambda spec: spec.width)
        self.inter_bottleneck = inter_bottleneck or self.bottlenecks[narrowest.name]
        self.inter: InterTower | None = None
        if len(names) > 1 and parts != "intra":
            self.inter = InterTower(
                towers,
                embedding_dim=embedding_dim,
                bottleneck=self.inter_bottleneck,
                activation=activation,
                dropout=dropout,
                mixing=mixing,
            )
        joined = len(self.intra) + (self.inter is not None)
        self.fusion = nn.Linear(joined * embedding_dim, embedding_dim)

    def settings(self) -> dict[str, Any]:
        """What `SideNetwork(**settings)` needs to be built again, as JSON can hold it."""
        return {
            "towers": [vars(spec) for spec in self.specs],
            "embedding_dim": self.embedding_dim,
            "bottleneck": self.bottlenecks,
            "inter_bottleneck": self.inter_bottleneck,
            "activation": self.activation,
            "dropout": self.dropout,
            "parts": self.only,
            "mixing": self.mixing,
            "wide_heads": self.wide_heads,
        }

    @torch.no_grad()
    def gates(self) -> dict[str, Tensor]:
        """What the gates have come to; empty where states are summed.

        Returns:
            By tower, (K,): how much of each kept state its intra tower takes, the rest being the side
            state; and for `inter`, (levels, T): the weight of each tower, in their order.
        """
        named = zip(self.specs, self.intra, strict=False)  # no intra tower in the ablation `inter`
        gates = {spec.name: tower.gates() for spec, tower in named if tower.gates is not None}  # type: ignore[operator]
        if self.inter is not None and self.inter.gates is not None:
            gates[INTER] = self.inter.weights()
        return gates

    def parts(self, states: Mapping[str, Tensor]) -> list[Tensor]:
        """What the fusion joins: T intra embeddings in the towers' order, then the inter one; each (U, E).

        Args:
            states: (U, K, D) of every tower by name, of any floating type.

        Raises:
            ValueError: if a tower is absent or has another shape than its spec.
        """
        specs = zip(self.widenings, self.specs, strict=True)
        inputs = [widen(self._checked(spec, states)) for widen, spec in specs]
        parts = [tower(x) for tower, x in zip(self.intra, inputs, strict=False)]
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


def _check_names(names: list[str], parts: str) -> None:
    if not names or len(set(names)) != len(names):
        raise ValueError(f"towers must be at least one, with distinct names, got {names}")
    if INTER in names:
        raise ValueError(f"a tower is named {INTER!r}, as the tower between towers is; rename it")
    if parts == "inter" and len(names) == 1:
        raise ValueError(
            f"parts 'inter' is the tower between towers, and there is one tower, {names[0]!r}; "
            "use 'both', or add a tower"
        )


def _check_word(what: str, word: str, known: Any) -> None:
    if word not in get_args(known):
        raise ValueError(f"{what} {word!r} is unknown; use one of {list(get_args(known))}")


def _by_name(bottleneck: int | Mapping[str, int], names: list[str]) -> dict[str, int]:
    if isinstance(bottleneck, int):
        return dict.fromkeys(names, bottleneck)
    if set(bottleneck) != set(names):
        raise ValueError(f"bottleneck names {sorted(bottleneck)}, the towers are {sorted(names)}")
    return dict(bottleneck)
