"""The two-stage baseline: frozen pooled states, an MLP per tower, and a fusion (IDvs.MoRec, arXiv 2303.13835).

U items, N items of a dataset, K kept states, D width, E embedding.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from models.fusion import FUSIONS, Concat, MakeFusion
from models.fusion.kind import describe_fusion, differing
from models.items.heads import Head, HeadActivation, HeadSettings
from models.items.id_embedding import IdEmbedding
from models.items.kind import ID_TOWER, ItemKind
from models.items.part_names import by_tower, part_name
from toolkit.towers import TowerSpec


@dataclass
class PooledSettings(HeadSettings):
    """The heads over frozen pooled states.

    Args:
        layers: of each tower's MLP, after its first projection.
        dropout: of the input of each layer, while training.
        activation: `gelu`; or `none`, with which 0 layers are one linear map.
    """

    layers: int = 8


class Pooled(nn.Module):
    """Item vectors from the last kept state of each tower, and from a learned vector per item where `id` is a tower.

    Parts are joined by a fusion; a single part is the item vector itself.

    Args:
        towers: of content, with distinct names.
        parts: names of the towers and, for a learned vector per item, `id`, in the order in which they are joined; by
            default the towers.
        items: N, which `id` requires.
        embedding_dim: E.
        layers: of each head (`models.items.heads.Head`).
        dropout: of each head.
        activation: of each head.
        initial_std: of the learned vectors (`models.items.id_embedding.IdEmbedding`).
        fusion: makes the module that joins the parts: `fusion(parts=NAMES, embedding_dim=E)`.

    Raises:
        ValueError: if there is no part, a name is used twice, or parts name another tower.
    """

    def __init__(
        self,
        towers: Sequence[TowerSpec],
        *,
        parts: Sequence[str] | None = None,
        items: int | None = None,
        embedding_dim: int = 64,
        layers: int = 8,
        dropout: float = 0.0,
        activation: HeadActivation = "gelu",
        initial_std: float | None = None,
        fusion: MakeFusion = Concat,
    ) -> None:
        super().__init__()
        self.specs = tuple(towers)
        self.joined = check_parts([spec.name for spec in towers], parts, items)
        self.embedding_dim = embedding_dim
        self.layers = layers
        self.dropout = dropout
        self.activation = activation
        self.items = items if ID_TOWER in self.joined else None
        self.heads = by_tower(
            [spec.name for spec in towers],
            (
                Head(
                    last_width(spec),
                    embedding_dim,
                    layers=layers,
                    dropout=dropout,
                    activation=activation,
                )
                for spec in towers
            ),
        )
        self.vectors = make_vectors(self.items, embedding_dim, initial_std)
        self.fusion = make_fusion(fusion, self.joined, embedding_dim)

    def settings(self) -> dict[str, Any]:
        """What `Pooled(**settings)` needs to be built again, as JSON can hold it."""
        return {
            "towers": [vars(spec) for spec in self.specs],
            "parts": list(self.joined),
            "embedding_dim": self.embedding_dim,
            "layers": self.layers,
            "dropout": self.dropout,
            **differing(HeadSettings, {"activation": self.activation}),
            **({} if self.items is None else {"items": self.items}),
            **({} if self.fusion is None else {"fusion": describe_fusion(self.fusion, FUSIONS)}),
        }

    def parts(self, features: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """What the fusion joins, each (U, E), in order.

        Args:
            features: (U, K, D) of each tower, of any floating type; and item numbers (U,) as `id`.

        Raises:
            ValueError: if a tower is absent or has another width.
        """
        dtype = next(self.parameters()).dtype
        found = {
            spec.name: self.heads[part_name(spec.name)](last_state(spec, features).to(dtype))
            for spec in self.specs
        }
        if self.vectors is not None:
            found[ID_TOWER] = self.vectors(features)
        return {name: found[name] for name in self.joined}

    def forward(self, features: Mapping[str, Tensor]) -> Tensor:
        """`{tower: (U, K, D), "id": (U,)}` -> (U, E)."""
        return join(self.fusion, self.parts(features))


def check_parts(
    towers: Sequence[str], parts: Sequence[str] | None, items: int | None
) -> tuple[str, ...]:
    """The names of the parts in order; by default the towers.

    Raises:
        ValueError: if there is no part, a name is used twice, parts name another tower, or `id` lacks its items.
    """
    joined = tuple(parts if parts is not None else towers)
    if not joined or len(set(joined)) != len(joined):
        raise ValueError(f"parts must be at least one, with distinct names, got {list(joined)}")
    if set(joined) - {ID_TOWER} != set(towers):
        raise ValueError(f"parts are {list(joined)}, and the towers are {list(towers)}")
    if ID_TOWER in joined and items is None:
        raise ValueError("part 'id' is a learned vector per item, and requires the number of items")
    return joined


def make_vectors(
    items: int | None, embedding_dim: int, initial_std: float | None
) -> IdEmbedding | None:
    """The learned vectors of N items; None where there are none."""
    if items is None:
        return None
    return IdEmbedding(items, embedding_dim=embedding_dim, initial_std=initial_std)


def make_fusion(fusion: MakeFusion, parts: Sequence[str], embedding_dim: int) -> nn.Module | None:
    """What joins several parts; None for one part."""
    return fusion(parts=parts, embedding_dim=embedding_dim) if len(parts) > 1 else None


def join(fusion: nn.Module | None, parts: Mapping[str, Tensor]) -> Tensor:
    """The item vector of the parts, (U, E)."""
    if fusion is None:
        (vector,) = parts.values()
        return vector
    vector = fusion(parts)
    return vector


def last_width(spec: TowerSpec) -> int:
    """Width of the last kept state."""
    return spec.widths[-1] if spec.widths else spec.width


def last_state(spec: TowerSpec, features: Mapping[str, Tensor]) -> Tensor:
    """The last kept state of a tower, (U, its width).

    Raises:
        ValueError: if the tower is absent or has another width.
    """
    if spec.name not in features:
        raise ValueError(f"states of tower {spec.name!r} are absent (given: {sorted(features)})")
    states = features[spec.name]
    if states.ndim != 3 or states.shape[2] != spec.width:
        raise ValueError(
            f"states of tower {spec.name!r} have shape {tuple(states.shape)}, expected (U, K, {spec.width})"
        )
    return states[:, -1, : last_width(spec)]


def _build(
    settings: PooledSettings,
    *,
    items: int,
    towers: Sequence[TowerSpec],
    parts: Sequence[str],
    embedding_dim: int,
    fusion: MakeFusion,
    initial_std: float | None,
) -> Pooled:
    return Pooled(
        towers,
        parts=parts,
        items=items,
        embedding_dim=embedding_dim,
        layers=settings.layers,
        dropout=settings.dropout,
        activation=settings.activation,
        initial_std=initial_std,
        fusion=fusion,
    )


def about_parts(towers: Sequence[str]) -> str:
    """What a card says of learned vectors among the towers."""
    return " Beside the content it has a learned vector per item." if ID_TOWER in towers else ""


def _about(towers: Sequence[str]) -> str:
    content = [name for name in towers if name != ID_TOWER]
    return (
        f"It reads items by their content: an MLP over the pooled state that a frozen encoder made, for each of "
        f"{len(content)} tower{'s' * (len(content) != 1)} (two-stage, as in IDvs.MoRec, arXiv 2303.13835)."
        + about_parts(towers)
    )


POOLED = ItemKind(
    encoder=Pooled,
    build=_build,
    reads=("pooled",),
    knows_new_items=True,
    noun="a two-stage model",
    about=_about,
    settings=PooledSettings,
    joins=("vectors",),
    takes_id_tower=True,
)
