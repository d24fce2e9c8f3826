"""Co-attention over the tokens of two parts (MMSR's `co_att`; the layer is LXMERT's, arXiv 1908.07490).

U items, S tokens, E embedding.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from models.fusion.attention import (
    Attention,
    AttentionSettings,
    FeedForward,
    TokenTypes,
    initialise,
)
from models.fusion.kind import FusionKind, differing
from models.fusion.pairs import refuse_other_than_two
from toolkit.backbones.token_states import TokenStates


@dataclass
class CoAttentionSettings(AttentionSettings):
    """The fusion. It joins the tokens of two towers, which item `encoders` has.

    Args:
        kind: name of the fusion.
        layers: number of layers.
        heads: number of attention heads; MMSR has BERT's 12, with an embedding width of 768.
        inner_width: inner width of the feed-forward networks; 0 for four times the embedding width.
        dropout: dropout probability.
        token_types: whether a learned vector per tower is added to its tokens.
    """

    kind: str = "co-attention"


class CoAttentionLayer(nn.Module):
    """Each part attends to the other, then to itself, then passes a feed-forward network.

    x' = A(x, y), y' = A(y, x) with one set of weights, both from the same inputs; then x'' = F_x(S_x(x', x')), and y''
    with weights of its own.

    Args:
        embedding_dim: E.
        heads: number of attention heads.
        inner_width: inner width of the feed-forward networks.
        dropout: dropout probability.
    """

    def __init__(self, embedding_dim: int, *, heads: int, inner_width: int, dropout: float) -> None:
        super().__init__()
        self.cross = Attention(embedding_dim, heads=heads, dropout=dropout)
        self.own = nn.ModuleList(
            Attention(embedding_dim, heads=heads, dropout=dropout) for _ in range(2)
        )
        self.feed_forward = nn.ModuleList(
            FeedForward(embedding_dim, inner_width=inner_width, dropout=dropout) for _ in range(2)
        )

    def forward(self, first: TokenStates, second: TokenStates) -> list[TokenStates]:
        """Two parts, (U, S, E) each -> the same two."""
        crossed = (
            first._replace(states=self.cross(first.states, second)),
            second._replace(states=self.cross(second.states, first)),
        )
        layers = zip(crossed, self.own, self.feed_forward, strict=True)
        return [
            part._replace(states=feed_forward(own(part.states, part)))
            for part, own, feed_forward in layers
        ]


class CoAttention(nn.Module):
    """e = W · [mean(x); mean(y)] + b, where x and y are the parts' tokens after `layers` layers.

    Means are over real tokens. Matrices begin as N(0, 0.02) with biases of zero.

    Args:
        parts: names of the two parts.
        embedding_dim: E.
        layers: number of layers.
        heads: number of attention heads.
        inner_width: inner width of the feed-forward networks; 0 for 4 E.
        dropout: dropout probability.
        token_types: whether a learned vector per part is added to its tokens.

    Raises:
        ValueError: if there are not two parts, or E is not divisible by `heads`.
    """

    def __init__(
        self,
        parts: Sequence[str],
        *,
        embedding_dim: int,
        layers: int = 1,
        heads: int = 2,
        inner_width: int = 0,
        dropout: float = 0.1,
        token_types: bool = True,
    ) -> None:
        super().__init__()
        refuse_other_than_two(parts)
        self.parts = tuple(parts)
        self.chosen = {
            "layers": layers,
            "heads": heads,
            "inner_width": inner_width,
            "dropout": dropout,
            "token_types": token_types,
        }
        self.types = TokenTypes(len(parts), embedding_dim) if token_types else nn.Identity()
        self.layers = nn.ModuleList(
            CoAttentionLayer(
                embedding_dim,
                heads=heads,
                inner_width=inner_width or 4 * embedding_dim,
                dropout=dropout,
            )
            for _ in range(layers)
        )
        self.output = nn.Linear(2 * embedding_dim, embedding_dim)
        initialise(self)

    def settings(self) -> dict[str, Any]:
        """Its settings without `kind`: those that differ from the defaults."""
        return differing(CoAttentionSettings, self.chosen)

    def forward(self, parts: Mapping[str, TokenStates]) -> Tensor:
        """`{part: (U, S, E)}` -> (U, E)."""
        pair = self.types([parts[name] for name in self.parts])
        for layer in self.layers:
            pair = layer(*pair)
        joined: Tensor = self.output(torch.cat([part.mean() for part in pair], dim=1))
        return joined


CO_ATTENTION = FusionKind(settings=CoAttentionSettings, fusion=CoAttention, joins="tokens", least=2)
