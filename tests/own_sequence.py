"""A sequence encoder outside of the package, in one file: a GRU."""

from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

import models


@dataclass
class GRUSettings:
    """A GRU.

    Args:
        kind: name of the sequence encoder.
        max_len: L, inputs per sequence.
        layers: stacked GRU layers.
    """

    kind: str = "gru"
    max_len: int = 10
    layers: int = 1


class GRU(nn.Module):
    """Gated recurrent units over the items.  (B, L, E), (B, L) -> (B, L, E).

    Args:
        embedding_dim: E.
        max_len: L, the longest input.
        layers: stacked layers.
    """

    def __init__(self, *, embedding_dim: int, max_len: int, layers: int) -> None:
        super().__init__()
        self.max_len = max_len
        self.gru = nn.GRU(embedding_dim, embedding_dim, layers, batch_first=True)

    def settings(self) -> dict[str, Any]:
        """What builds it again."""
        layers, width = self.gru.num_layers, self.gru.hidden_size
        return {"embedding_dim": width, "max_len": self.max_len, "layers": layers}

    def forward(self, items: Tensor, real: Tensor) -> Tensor:
        """(B, L, E), (B, L) -> (B, L, E)."""
        return self.gru(items * real[..., None])[0]


models.SEQUENCES["gru"] = models.SequenceKind(
    settings=GRUSettings,
    encoder=GRU,
    about=lambda settings: f"a GRU of {settings.layers} layers over {settings.max_len} items",
)
