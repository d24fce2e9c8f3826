"""The layers of the attention fusions: BERT's (arXiv 1810.04805), with queries and keys of different tokens allowed.

U items, S tokens that ask, T tokens that are attended, H heads, E embedding.
"""

from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor, nn

from toolkit.arguments import refuse_below
from toolkit.backbones.token_states import TokenStates
from toolkit.errors import UserError

INITIAL_STD = 0.02  # BERT's and MMSR's
LAYER_NORM_EPS = 1e-12


@dataclass
class AttentionSettings:
    """Settings of every fusion of tokens that has such layers.

    Args:
        kind: name of the fusion.
        layers: number of layers.
        heads: number of attention heads.
        inner_width: inner width of the feed-forward networks; 0 for four times the embedding width.
        dropout: dropout probability.
        token_types: whether a learned vector per tower is added to its tokens.
    """

    kind: str = ""
    layers: int = 1
    heads: int = 2
    inner_width: int = 0
    dropout: float = 0.1
    token_types: bool = True

    def __post_init__(self) -> None:
        refuse_below({"layers": 1, "heads": 1, "inner_width": 0}, vars(self), lead="fusion.")
        if not 0 <= self.dropout < 1:
            raise UserError(f"fusion.dropout is {self.dropout}; it must be in [0, 1)")


class Attention(nn.Module):
    """y = LN(x + dropout(W_o · softmax(q kᵀ / √(E/H)) v + b_o)), with q of x, and k and v of the attended tokens.

    Args:
        embedding_dim: E.
        heads: H.
        dropout: dropout probability of the attention weights and of the output.

    Raises:
        ValueError: if E is not divisible by H.
    """

    def __init__(self, embedding_dim: int, *, heads: int, dropout: float) -> None:
        super().__init__()
        if embedding_dim % heads:
            raise ValueError(f"embedding_dim {embedding_dim} is not divisible by heads {heads}")
        self.heads = heads
        self.query = nn.Linear(embedding_dim, embedding_dim)
        self.key = nn.Linear(embedding_dim, embedding_dim)
        self.value = nn.Linear(embedding_dim, embedding_dim)
        self.output = nn.Linear(embedding_dim, embedding_dim)
        self.dropout = nn.Dropout(dropout)
        self.norm = nn.LayerNorm(embedding_dim, eps=LAYER_NORM_EPS)

    def forward(self, x: Tensor, attended: TokenStates) -> Tensor:
        """(U, S, E), (U, T, E) -> (U, S, E)."""
        query, key, value = (
            layer(states).unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for layer, states in (
                (self.query, x),
                (self.key, attended.states),
                (self.value, attended.states),
            )
        )
        found = F.scaled_dot_product_attention(
            query,
            key,
            value,
            attn_mask=attended.real[:, None, None],
            dropout_p=self.dropout.p if self.training else 0.0,
        )
        joined: Tensor = self.output(found.transpose(1, 2).flatten(-2))
        return self.norm(x + self.dropout(joined))


class FeedForward(nn.Module):
    """y = LN(x + dropout(W_2 · GELU(W_1 x + b_1) + b_2)), GELU exact.  (U, S, E) -> (U, S, E).

    Args:
        embedding_dim: E.
        inner_width: of the layer between.
        dropout: dropout probability of the output.
    """

    def __init__(self, embedding_dim: int, *, inner_width: int, dropout: float) -> None:
        super().__init__()
        self.expand = nn.Linear(embedding_dim, inner_width)
        self.contract = nn.Linear(inner_width, embedding_dim)
        self.dropout = nn.Dropout(dropout)
        self.norm = nn.LayerNorm(embedding_dim, eps=LAYER_NORM_EPS)

    def forward(self, x: Tensor) -> Tensor:
        """(U, S, E) -> (U, S, E)."""
        inner = self.contract(F.gelu(self.expand(x)))
        return self.norm(x + self.dropout(inner))


class TokenTypes(nn.Module):
    """A learned vector per part, added to each of its tokens.  P times (U, S, E) -> P times (U, S, E).

    Args:
        parts: P.
        embedding_dim: E.
    """

    def __init__(self, parts: int, embedding_dim: int) -> None:
        super().__init__()
        self.vectors = nn.Embedding(parts, embedding_dim)

    def forward(self, parts: list[TokenStates]) -> list[TokenStates]:
        """P times (U, S, E) -> P times (U, S, E)."""
        return [
            part._replace(states=part.states + vector)
            for part, vector in zip(parts, self.vectors.weight, strict=True)
        ]


def initialise(fusion: nn.Module) -> None:
    """Sets the initial weights in place: matrices N(0, 0.02), biases zero, as in BERT and MMSR."""
    for module in fusion.modules():
        if isinstance(module, (nn.Linear, nn.Embedding)):
            nn.init.normal_(module.weight, std=INITIAL_STD)
        if isinstance(module, nn.Linear):
            nn.init.zeros_(module.bias)
