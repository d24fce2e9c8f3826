"""The ID baseline: one learned vector per item, without content."""

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor, nn

from models.items.kind import ItemKind
from models.parameters import of_ids


class IdEmbedding(nn.Module):
    """Item embeddings by number (IDRec).  `{"id": (U,)}` item numbers -> (U, E).

    Args:
        items: N, number of items; the table has rows 0..N, and row 0 is padding.
        embedding_dim: E.
        initial_std: standard deviation of the initial vectors; by default 1/sqrt(E), so that their norm is about 1.
    """

    def __init__(
        self, items: int, *, embedding_dim: int = 64, initial_std: float | None = None
    ) -> None:
        super().__init__()
        self.items = items
        self.embedding_dim = embedding_dim
        self.table = vectors_of(items, embedding_dim, initial_std)

    def settings(self) -> dict[str, Any]:
        """Arguments that rebuild the module (`IdEmbedding(**settings)`), as a JSON object."""
        return {"items": self.items, "embedding_dim": self.embedding_dim}

    def forward(self, features: Mapping[str, Tensor]) -> Tensor:
        """`{"id": (U,)}` -> (U, E).

        Raises:
            ValueError: if the features are not a mapping.
        """
        if isinstance(features, Tensor):
            raise ValueError('features are a tensor; expected a mapping, {"id": item numbers}')
        return self.table(features["id"])


def vectors_of(count: int, width: int, initial_std: float | None) -> nn.Embedding:
    """A learned vector for each of `count` users or items, (count + 1, width); row 0 is zeros and not trained.

    Args:
        count: number of users or items.
        width: of their vectors.
        initial_std: standard deviation of the initial vectors; None for 1/sqrt(width), so that their norm is about 1.
    """
    table = nn.Embedding(count + 1, width, padding_idx=0)
    # Norm 1 for any count: Xavier vectors shrink as it grows and become small beside the position embeddings.
    nn.init.normal_(table.weight, std=initial_std or width**-0.5)
    table.weight.data[0] = 0.0
    return of_ids(table)


def _build(
    settings: None, *, items: int, embedding_dim: int, initial_std: float | None, **unused: Any
) -> IdEmbedding:
    return IdEmbedding(items, embedding_dim=embedding_dim, initial_std=initial_std)


def _about(towers: Sequence[str]) -> str:
    return "Each item has a learned vector; the model reads no content."


ID = ItemKind(
    encoder=IdEmbedding,
    build=_build,
    reads=("numbers",),
    knows_new_items=False,
    noun="an ID model",
    about=_about,
    without_gates="it learns one vector per item and reads no content, so it has no gates",
)
