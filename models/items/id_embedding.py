"""The ID baseline: one learned vector per item, without content."""

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor, nn

from models.items.kind import ItemKind


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
        self.table = nn.Embedding(items + 1, embedding_dim, padding_idx=0)
        # Norm 1 for any N: Xavier vectors shrink as the catalogue grows and become small beside the position embeddings.
        nn.init.normal_(self.table.weight, std=initial_std or embedding_dim**-0.5)
        self.table.weight.data[0] = 0.0

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
