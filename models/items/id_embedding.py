"""The ID baseline: one learned vector an item, no content."""

from typing import Any

from torch import Tensor, nn


class IdEmbedding(nn.Module):
    """Item embeddings by number (IDRec).  (U,) item numbers -> (U, E).

    Args:
        items: N; rows are 0..N, row 0 being padding.
        embedding_dim: E.
        initial_std: vectors begin normal with it; by default with one that makes their norm 1.
    """

    def __init__(
        self, items: int, *, embedding_dim: int = 64, initial_std: float | None = None
    ) -> None:
        super().__init__()
        self.items = items
        self.embedding_dim = embedding_dim
        self.table = nn.Embedding(items + 1, embedding_dim, padding_idx=0)
        # Of norm 1, whatever N is: Xavier's shrink as the catalogue grows, and drown in the position embeddings.
        nn.init.normal_(self.table.weight, std=initial_std or embedding_dim**-0.5)
        self.table.weight.data[0] = 0.0

    def settings(self) -> dict[str, Any]:
        """What `IdEmbedding(**settings)` needs to be built again, as JSON can hold it."""
        return {"items": self.items, "embedding_dim": self.embedding_dim}

    def forward(self, numbers: Tensor) -> Tensor:
        """(U,) -> (U, E)."""
        return self.table(numbers)
