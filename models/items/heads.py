"""What turns a pooled state into an item vector: the head of a tower whose encoder gives one vector per item.

U items, D width, E embedding.
"""

from dataclasses import dataclass

from torch import Tensor, nn

from toolkit.errors import UserError


@dataclass
class HeadSettings:
    """The heads between pooled states and item vectors.

    Args:
        layers: of the MLP after the first projection; 8 in the two-stage recipe of IDvs.MoRec (arXiv 2303.13835).
        dropout: of the input of each of them, while training.
    """

    layers: int = 0
    dropout: float = 0.1

    def __post_init__(self) -> None:
        if self.layers < 0:
            raise UserError(f"items.layers is {self.layers}; it must be at least 0")
        if not 0 <= self.dropout < 1:
            raise UserError(f"items.dropout is {self.dropout}; it must be in [0, 1)")


class Head(nn.Module):
    """h = GELU(W·x + b), then `layers` times h = GELU(W·dropout(h) + b), GELU exact.  (U, D) -> (U, E).

    The item head of IDvs.MoRec (arXiv 2303.13835), end to end (0 layers) and two-stage. Weights begin Xavier normal,
    biases zero, as there.

    Args:
        width: D.
        embedding_dim: E.
        layers: of the MLP after the first projection.
        dropout: of each layer's input, while training.
    """

    def __init__(self, width: int, embedding_dim: int, *, layers: int, dropout: float) -> None:
        super().__init__()
        self.first = nn.Linear(width, embedding_dim)
        self.layers = nn.ModuleList(nn.Linear(embedding_dim, embedding_dim) for _ in range(layers))
        self.activation = nn.GELU()
        self.dropout = nn.Dropout(dropout)
        for linear in (self.first, *self.layers):
            nn.init.xavier_normal_(linear.weight)
            nn.init.zeros_(linear.bias)

    def forward(self, states: Tensor) -> Tensor:
        """(U, D) -> (U, E)."""
        vectors = self.activation(self.first(states))
        for layer in self.layers:
            vectors = self.activation(layer(self.dropout(vectors)))
        return vectors
