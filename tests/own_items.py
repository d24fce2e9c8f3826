"""An item encoder outside of the package, in one file: a learned vector per item, beside the last state of each tower."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

import models
from models.fusion import FUSIONS, MakeFusion
from models.fusion.kind import describe_fusion
from toolkit import TowerSpec


@dataclass
class VectorsAndTowersSettings:
    """A vector per item beside its towers.

    Args:
        hidden: width between the two layers of each tower.
    """

    hidden: int = 16


class VectorsAndTowers(nn.Module):
    """The fusion of a learned vector and of an MLP over the last state of each tower.

    Args:
        items: N.
        towers: T of them.
        embedding_dim: E.
        hidden: inner width.
        fusion: makes the fusion.
    """

    def __init__(
        self,
        *,
        items: int,
        towers: Sequence[TowerSpec],
        embedding_dim: int,
        hidden: int,
        fusion: MakeFusion,
    ) -> None:
        super().__init__()
        self.towers, self.hidden = list(towers), hidden
        self.table = nn.Embedding(items + 1, embedding_dim, padding_idx=0)
        self.read = nn.ModuleDict(
            {
                t.name: nn.Sequential(
                    nn.Linear(t.width, hidden), nn.ReLU(), nn.Linear(hidden, embedding_dim)
                )
                for t in towers
            }
        )
        names = ["id", *(t.name for t in towers)]
        self.fusion = fusion(parts=names, embedding_dim=embedding_dim)

    def settings(self) -> dict[str, Any]:
        """What builds it again."""
        return {
            "items": self.table.num_embeddings - 1,
            "towers": [vars(tower) for tower in self.towers],
            "embedding_dim": self.table.embedding_dim,
            "hidden": self.hidden,
            "fusion": describe_fusion(self.fusion, FUSIONS),
        }

    def forward(self, features: Mapping[str, Tensor]) -> Tensor:
        """`{"id": (U,), tower: (U, K, D)}` -> (U, E)."""
        parts = {name: read(features[name][:, -1].float()) for name, read in self.read.items()}
        return self.fusion({"id": self.table(features["id"]), **parts})


def build(
    settings: VectorsAndTowersSettings,
    *,
    items: int,
    towers: Sequence[TowerSpec],
    embedding_dim: int,
    fusion: MakeFusion,
    initial_std: float | None,
) -> VectorsAndTowers:
    """From a run's settings."""
    return VectorsAndTowers(
        items=items,
        towers=towers,
        embedding_dim=embedding_dim,
        hidden=settings.hidden,
        fusion=fusion,
    )


models.ITEMS["vectors-and-towers"] = models.ItemKind(
    encoder=VectorsAndTowers,
    build=build,
    reads=("numbers", "states"),
    knows_new_items=False,
    noun="a model of vectors and towers",
    about=lambda towers: f"Items are learned vectors beside their {len(towers)} towers.",
    settings=VectorsAndTowersSettings,
    joins=("vectors",),
)
