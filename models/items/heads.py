"""The head of a tower: what turns the states of an encoder into vectors of the embedding's width.

U items, S tokens, D width, E embedding.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from torch import Tensor, nn

from toolkit.errors import UserError

HeadActivation = Literal["gelu", "none"]
_ACTIVATIONS: dict[HeadActivation, Callable[[], nn.Module]] = {"gelu": nn.GELU, "none": nn.Identity}


@dataclass
class HeadSettings:
    """The heads between pooled states and item vectors.

    Args:
        layers: of the MLP after the first projection; 8 in the two-stage recipe of IDvs.MoRec (arXiv 2303.13835).
        dropout: of the input of each of them, while training.
        activation: `gelu`; or `none`, with which 0 layers are one linear map, as in MMSR, NineRec and MicroLens (text and
            images).
    """

    layers: int = 0
    dropout: float = 0.1
    activation: HeadActivation = "gelu"

    def __post_init__(self) -> None:
        if self.layers < 0:
            raise UserError(f"items.layers is {self.layers}; it must be at least 0")
        if not 0 <= self.dropout < 1:
            raise UserError(f"items.dropout is {self.dropout}; it must be in [0, 1)")


class Head(nn.Module):
    """h = act(W·x + b), then `layers` times h = act(W·dropout(h) + b).  (U, D) -> (U, E).

    With GELU (the exact one) it is the item head of IDvs.MoRec (arXiv 2303.13835), end to end (0 layers) and two-stage,
    and MicroLens' head of videos. Without an activation, and with 0 layers, it is the linear map of MMSR, NineRec and
    MicroLens. Weights begin Xavier normal, biases zero.

    Args:
        width: D.
        embedding_dim: E.
        layers: of the MLP after the first projection.
        dropout: of each layer's input, while training.
        activation: act.
    """

    def __init__(
        self,
        width: int,
        embedding_dim: int,
        *,
        layers: int,
        dropout: float,
        activation: HeadActivation = "gelu",
    ) -> None:
        super().__init__()
        self.first = nn.Linear(width, embedding_dim)
        self.layers = nn.ModuleList(nn.Linear(embedding_dim, embedding_dim) for _ in range(layers))
        self.activation = _ACTIVATIONS[activation]()
        self.dropout = nn.Dropout(dropout)
        for linear in (self.first, *self.layers):
            nn.init.xavier_normal_(linear.weight)
            nn.init.zeros_(linear.bias)

    def forward(self, states: Tensor) -> Tensor:
        """(U, D) -> (U, E); or of tokens, (U, S, D) -> (U, S, E)."""
        vectors = self.activation(self.first(states))
        for layer in self.layers:
            vectors = self.activation(layer(self.dropout(vectors)))
        return vectors
