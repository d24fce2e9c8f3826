"""IISAN-Versa: a decoupled side network over frozen encoders' hidden states.

IISAN, arXiv 2404.02059; IISAN-Versa, arXiv 2411.02992. The encoders are never differentiated: the
network reads their kept hidden states and is all that trains on the item side.

U items, T towers, K kept states (the embedding output first), D width, E embedding.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn

from models.fusion import FUSIONS, Concat, MakeFusion
from models.fusion.kind import describe_fusion
from models.items.kind import ItemKind
from models.items.part_names import by_tower
from models.items.side_blocks import Activation, Widening, make_blocks
from models.items.side_towers import InterTower, IntraTower, Mixing
from toolkit.errors import UserError
from toolkit.towers import Modality, TowerSpec

Parts = Literal["intra", "inter", "both"]
INTER = "inter"  # the tower between towers, among the towers' names


@dataclass
class SideSettings:
    """The side network.

    Args:
        embedding_dim: E, width of item embeddings and user states.
        bottleneck: inner width of the side blocks.
        bottlenecks: by tower, where it is to be another; `inter` is the tower between towers, which otherwise has
            that of the narrowest tower.
        activation: of the side blocks.
        dropout: of the side blocks' inner layer.
        parts: `both`, or as ablations `intra` (a side tower each, nothing between them) or `inter` (the tower
            between towers alone).
        mixing: `gated`, or as an ablation `sum`: states are added up without gates.
        wide_heads: whether the first head layer keeps the tower's width, as in IISAN, or goes to embedding_dim at
            once, as in IISAN-Versa.
        modality: by tower, `text` or `image` where the learning-rate groups are to differ from
            those of the tower's encoder.
    """

    embedding_dim: int = 64
    bottleneck: int = 64
    bottlenecks: dict[str, int] = field(default_factory=dict)
    activation: Activation = "relu"
    dropout: float = 0.0
    parts: Parts = "both"
    mixing: Mixing = "gated"
    wide_heads: bool = False
    modality: dict[str, Modality] = field(default_factory=dict)

    def __post_init__(self) -> None:
        narrowest = min([self.bottleneck, *self.bottlenecks.values()])
        if narrowest < 1:
            raise UserError(f"side: a bottleneck is {narrowest}; it must be at least 1")
        if not 0 <= self.dropout < 1:
            raise UserError(f"side.dropout is {self.dropout}; it must be in [0, 1)")


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
        fusion: makes the module that joins the parts: `fusion(parts=NAMES, embedding_dim=E)`, where the names are
            those of the intra towers and `inter`.

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
        fusion: MakeFusion = Concat,
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
        with_intra = list(towers) if parts != "inter" else []
        self.intra = by_tower(
            [spec.name for spec in with_intra],
            (
                IntraTower(
                    spec,
                    make_blocks(
                        spec.layers, spec.width, self.bottlenecks[spec.name], activation, dropout
                    ),
                    embedding_dim=embedding_dim,
                    mixing=mixing,
                    wide_head=wide_heads,
                )
                for spec in with_intra
            ),
        )
        self.widenings = by_tower(
            names, (Widening(spec) if spec.widths else nn.Identity() for spec in towers)
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
        self.joined = (*(spec.name for spec in with_intra), *([INTER] if self.inter else []))
        # Made last, so that the other parts draw the same initial weights whatever the fusion.
        self.fusion = fusion(parts=self.joined, embedding_dim=embedding_dim)

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
            "fusion": describe_fusion(self.fusion, FUSIONS),
        }

    @torch.no_grad()
    def gates(self) -> dict[str, Tensor]:
        """What the gates have come to; empty where states are summed.

        Returns:
            By tower, (K,): how much of each kept state its intra tower takes, the rest being the side
            state; and for `inter`, (levels, T): the weight of each tower, in their order.
        """
        named = zip(
            self.specs, self.intra.values(), strict=False
        )  # no intra tower in the ablation `inter`
        gates = {spec.name: tower.gates() for spec, tower in named if tower.gates is not None}  # type: ignore[operator]
        if self.inter is not None and self.inter.gates is not None:
            gates[INTER] = self.inter.weights()
        return gates

    def parts(self, states: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """What the fusion joins: the intra embedding of each tower in their order, then `inter`; each (U, E).

        Args:
            states: (U, K, D) of every tower by name, of any floating type.

        Raises:
            ValueError: if a tower is absent or has another shape than its spec.
        """
        specs = zip(self.widenings.values(), self.specs, strict=True)
        inputs = [widen(self._checked(spec, states)) for widen, spec in specs]
        parts = [tower(x) for tower, x in zip(self.intra.values(), inputs, strict=False)]
        if self.inter is not None:
            parts.append(self.inter(inputs))
        return dict(zip(self.joined, parts, strict=True))

    def forward(self, states: Mapping[str, Tensor]) -> Tensor:
        """`{name: (U, K, D)}` -> (U, E)."""
        return self.fusion(self.parts(states))

    def _checked(self, spec: TowerSpec, states: Mapping[str, Tensor]) -> Tensor:
        if spec.name not in states:
            raise ValueError(f"states of tower {spec.name!r} are absent (given: {sorted(states)})")
        tensor = states[spec.name]
        if tensor.shape[1:] != (spec.layers, spec.width):
            raise ValueError(
                f"states of tower {spec.name!r} have shape {tuple(tensor.shape)}, "
                f"expected (U, {spec.layers}, {spec.width})"
            )
        return tensor.to(next(self.parameters()).dtype)


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


def _build(
    settings: SideSettings,
    *,
    towers: Sequence[TowerSpec],
    embedding_dim: int,
    fusion: MakeFusion,
    **unused: Any,
) -> SideNetwork:
    """The side network of a run.

    Raises:
        UserError: if the settings do not fit the towers.
    """
    names = [spec.name for spec in towers]
    _check_keys("side.modality", set(settings.modality), names)
    _check_keys("side.bottlenecks", set(settings.bottlenecks) - {INTER}, names)
    if settings.parts == INTER and len(names) == 1:
        raise UserError(
            f"side.parts is inter, the tower between towers, and the run has one: {names}; "
            "name another tower, or leave side.parts out"
        )
    return SideNetwork(
        [replace(t, modality=settings.modality.get(t.name, t.modality)) for t in towers],
        embedding_dim=embedding_dim,
        bottleneck={name: settings.bottlenecks.get(name, settings.bottleneck) for name in names},
        inter_bottleneck=settings.bottlenecks.get(INTER),
        activation=settings.activation,
        dropout=settings.dropout,
        parts=settings.parts,
        mixing=settings.mixing,
        wide_heads=settings.wide_heads,
        fusion=fusion,
    )


def _check_keys(key: str, named: set[str], towers: list[str]) -> None:
    unknown = sorted(named - set(towers))
    if unknown:
        raise UserError(f"{key} names {unknown}; the run's towers are {towers}")


def _about(towers: Sequence[str]) -> str:
    return (
        f"It reads items by their content: a side network (IISAN-Versa, arXiv 2411.02992) over the hidden "
        f"states that frozen encoders gave for {len(towers)} tower{'s' * (len(towers) > 1)}."
    )


SIDE_NETWORK = ItemKind(
    encoder=SideNetwork,
    build=_build,
    reads=("states",),
    knows_new_items=True,
    noun="a side network",
    about=_about,
    settings=SideSettings,
    section="side",
    joins="vectors",
    without_gates="its states are added up without gates (side.mixing: sum)",
)
