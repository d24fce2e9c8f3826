"""IISAN-Versa: a decoupled side network over the hidden states of frozen encoders.

IISAN, arXiv 2404.02059; IISAN-Versa, arXiv 2411.02992. No gradient flows through the encoders: the network reads
their kept hidden states, and it is the only trainable part of the item side.

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
from models.items.side_stack import can_stack, run_levels
from models.items.side_towers import InterTower, IntraTower, Mixing
from toolkit.arguments import refuse_below
from toolkit.errors import UserError
from toolkit.towers import Modality, TowerSpec

Parts = Literal["intra", "inter", "both"]
INTER = "inter"  # the inter tower's name among the towers


@dataclass
class SideSettings:
    """The side network.

    Args:
        embedding_dim: width E of item embeddings and user states.
        bottleneck: inner width of the side blocks.
        bottlenecks: exceptions to `bottleneck` by tower name; `inter` is the inter tower, whose default is the
            bottleneck of the narrowest tower.
        activation: activation of the side blocks.
        dropout: dropout probability of the side blocks' inner layer.
        parts: `both`; or, as ablations, `intra` (intra towers only) or `inter` (inter tower only).
        mixing: `gated`; or, as an ablation, `sum`, which adds states without gates.
        wide_heads: whether the first head layer keeps the tower's width, as in IISAN. If false, it projects to
            embedding_dim, as in IISAN-Versa.
        modality: `text` or `image` by tower name, which overrides the learning-rate group that the tower's encoder
            implies.
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
        refuse_below({"embedding_dim": 1}, vars(self), lead="side.")
        narrowest = min([self.bottleneck, *self.bottlenecks.values()])
        if narrowest < 1:
            raise UserError(f"side: a bottleneck is {narrowest}; it must be at least 1")
        if not 0 <= self.dropout < 1:
            raise UserError(f"side.dropout is {self.dropout}; it must be in [0, 1)")


class SideNetwork(nn.Module):
    """Item embeddings from frozen hidden states: an intra tower per encoder, an inter tower, and a fusion.

    With one tower there is no inter tower. With two, the network is the published IISAN-Versa. With three or more, the
    inter tower uses a softmax gate. If the states of a tower differ in width, a Linear projects each narrower one first.
    `parts` and `mixing` select the papers' ablations: intra towers only, inter tower only, no gates.

    Args:
        towers: one or more towers with distinct names.
        embedding_dim: E.
        bottleneck: inner width of the side blocks; one number, or a number by tower name.
        inter_bottleneck: inner width of the inter tower's blocks; by default that of the narrowest tower.
        activation: `relu` (as in the papers) or `gelu`.
        dropout: dropout probability of the side blocks' inner layer.
        parts: `intra`, `inter` or `both`.
        mixing: `gated`; or `sum`, which adds the states of a level to the side state without gates.
        wide_heads: whether the first head layer of an intra tower keeps the tower's width, as in IISAN. If false, it
            projects to E, as in IISAN-Versa.
        fusion: builds the module that joins the parts: `fusion(parts=NAMES, embedding_dim=E)`, where the names are
            those of the intra towers and `inter`.

    Raises:
        ValueError: if there is no tower, two towers share a name, a bottleneck is missing, an argument has an unknown
            value, or `parts` is `inter` with a single tower.
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
        _check_literal("activation", activation, Activation)
        _check_literal("parts", parts, Parts)
        _check_literal("mixing", mixing, Mixing)
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
        self.equal = (
            len({(spec.layers, spec.width) for spec in towers}) == 1
            and all(spec.widths is None for spec in towers)
            and {*self.bottlenecks.values(), self.inter_bottleneck} == {self.inter_bottleneck}
            and activation == "relu"
            and dropout == 0
        )
        # Built last, so that the fusion does not change the initial weights of the other parts.
        self.fusion = fusion(parts=self.joined, embedding_dim=embedding_dim)

    def settings(self) -> dict[str, Any]:
        """Arguments that rebuild the network (`SideNetwork(**settings)`), as a JSON object."""
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
        """The values of the gates; empty if `mixing` is `sum`.

        Returns:
            By tower name, (K,): the weight of each kept state in its intra tower; the side state has the remaining
            weight. For `inter`, (levels, T): the weight of each tower, in their order.
        """
        # The ablation `inter` has no intra towers.
        towers = zip(self.specs, self.intra.values(), strict=False)
        gates = {spec.name: tower.gates() for spec, tower in towers if tower.gates is not None}  # type: ignore[operator]
        if self.inter is not None and self.inter.gates is not None:
            gates[INTER] = self.inter.weights()
        return gates

    def parts(self, states: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The inputs of the fusion: the intra embeddings in the order of the towers, then `inter`; each (U, E).

        Args:
            states: (U, K, D) of every tower by name, of any floating type.

        Raises:
            ValueError: if a tower is missing or its states do not have the shape in its spec.
        """
        inputs = [self._checked(spec, states) for spec in self.specs]
        sides = self._stacked(inputs) if self.equal and can_stack(inputs) else self._apart(inputs)
        towers = zip(self.joined, self._towers(), sides, strict=True)
        return {name: tower(side) for name, tower, side in towers}

    def forward(self, states: Mapping[str, Tensor]) -> Tensor:
        """`{name: (U, K, D)}` -> (U, E)."""
        return self.fusion(self.parts(states))

    def _checked(self, spec: TowerSpec, states: Mapping[str, Tensor]) -> Tensor:
        if spec.name not in states:
            raise ValueError(
                f"states of tower {spec.name!r} are missing; the features have {sorted(states)}"
            )
        tensor = states[spec.name]
        if tensor.shape[1:] != (spec.layers, spec.width):
            raise ValueError(
                f"states of tower {spec.name!r} have shape {tuple(tensor.shape)}, "
                f"expected (U, {spec.layers}, {spec.width})"
            )
        return tensor

    def _towers(self) -> list[IntraTower | InterTower]:
        """The side towers, in the order of the parts."""
        intra: list[Any] = list(self.intra.values())
        return intra if self.inter is None else [*intra, self.inter]

    def _apart(self, inputs: Sequence[Tensor]) -> list[Tensor]:
        """The last side state of each side tower: one tower after the other."""
        dtype = next(self.parameters()).dtype
        widened = [
            widen(x.to(dtype)) for widen, x in zip(self.widenings.values(), inputs, strict=True)
        ]
        intra: list[Any] = list(self.intra.values())
        sides = [tower.side(x) for tower, x in zip(intra, widened, strict=False)]
        return sides if self.inter is None else [*sides, self.inter.side(widened)]

    def _stacked(self, inputs: Sequence[Tensor]) -> Sequence[Tensor]:
        """The same for towers of equal shape, level by level."""
        gates = [tower.gates() for tower in self.intra.values() if tower.gates is not None]  # type: ignore[operator]
        blocks: list[Any] = [tower.blocks for tower in self._towers()]
        return run_levels(
            inputs,
            blocks,
            gates=torch.stack(gates, dim=1) if gates else None,
            weights=None if self.inter is None else self.inter.weights(),
        ).unbind()


def _check_names(names: list[str], parts: str) -> None:
    if not names or len(set(names)) != len(names):
        raise ValueError(f"towers: expected one or more with distinct names, got {names}")
    if INTER in names:
        raise ValueError(f"a tower is named {INTER!r}, the name of the inter tower; rename it")
    if parts == "inter" and len(names) == 1:
        raise ValueError(
            f"parts 'inter' requires at least two towers, but the only one is {names[0]!r}; use 'both', or add a tower"
        )


def _check_literal(argument: str, value: str, literal: Any) -> None:
    if value not in get_args(literal):
        raise ValueError(f"{argument} {value!r} is unknown; use one of {list(get_args(literal))}")


def _by_name(bottleneck: int | Mapping[str, int], names: list[str]) -> dict[str, int]:
    if isinstance(bottleneck, int):
        return dict.fromkeys(names, bottleneck)
    if set(bottleneck) != set(names):
        raise ValueError(
            f"bottleneck has the keys {sorted(bottleneck)}; expected the names of the towers, {sorted(names)}"
        )
    return dict(bottleneck)


def _build(
    settings: SideSettings,
    *,
    towers: Sequence[TowerSpec],
    embedding_dim: int,
    fusion: MakeFusion,
    **unused: Any,
) -> SideNetwork:
    """Builds the side network of a run.

    Raises:
        UserError: if the settings do not fit the towers.
    """
    names = [spec.name for spec in towers]
    _check_keys("side.modality", set(settings.modality), names)
    _check_keys("side.bottlenecks", set(settings.bottlenecks) - {INTER}, names)
    if settings.parts == INTER and len(names) == 1:
        raise UserError(
            f"side.parts inter requires at least two towers, but the run has only {names}; add a tower, or leave out "
            "side.parts"
        )
    return SideNetwork(
        [
            replace(spec, modality=settings.modality.get(spec.name, spec.modality))
            for spec in towers
        ],
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


def _check_keys(key: str, names: set[str], towers: list[str]) -> None:
    unknown = sorted(names - set(towers))
    if unknown:
        raise UserError(f"{key} names unknown towers {unknown}; the run's towers are {towers}")


def _about(towers: Sequence[str]) -> str:
    return (
        f"The item encoder is a side network (IISAN-Versa, arXiv 2411.02992) over the hidden states of frozen encoders, "
        f"with {len(towers)} tower{'s' * (len(towers) > 1)}."
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
    joins=("vectors",),
    without_gates="its states are added without gates (side.mixing: sum)",
)
