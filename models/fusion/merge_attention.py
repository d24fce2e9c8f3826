"""Merge attention: BERT layers over the tokens of all parts (MMSR's `merge_attn`).

U items, P parts, S tokens, E embedding.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from models.fusion.attention import (
    Attention,
    AttentionSettings,
    FeedForward,
    TokenTypes,
    initialise,
)
from models.fusion.kind import FusionKind, differing
from toolkit.backbones.token_states import TokenStates, concatenate


@dataclass
class MergeAttentionSettings(AttentionSettings):
    """The fusion. It joins the tokens of two or more towers, which item `encoders` has.

    Args:
        kind: name of the fusion.
        layers: number of BERT layers; 1 in MMSR.
        heads: number of attention heads; MMSR has BERT's 12, with an embedding width of 768.
        inner_width: inner width of the feed-forward networks; 0 for four times the embedding width.
        dropout: dropout probability.
        token_types: whether a learned vector per tower is added to its tokens; MMSR's code has these vectors and never
            adds them.
    """

    kind: str = "merge-attention"


class MergeAttention(nn.Module):
    """e = mean over real tokens of BERT layers over [tokens of part 1; …; tokens of part P].

    There is no linear layer after them. Matrices begin as N(0, 0.02) with biases of zero.

    Args:
        parts: P names, in the order of the token types.
        embedding_dim: E.
        layers: number of layers.
        heads: number of attention heads.
        inner_width: inner width of the feed-forward networks; 0 for 4 E.
        dropout: dropout probability.
        token_types: whether a learned vector per part is added to its tokens.

    Raises:
        ValueError: if E is not divisible by `heads`.
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
        self.parts = tuple(parts)
        self.chosen = {
            "layers": layers,
            "heads": heads,
            "inner_width": inner_width,
            "dropout": dropout,
            "token_types": token_types,
        }
        width = inner_width or 4 * embedding_dim
        self.types = TokenTypes(len(parts), embedding_dim) if token_types else nn.Identity()
        self.attention = nn.ModuleList(
            Attention(embedding_dim, heads=heads, dropout=dropout) for _ in range(layers)
        )
        self.feed_forward = nn.ModuleList(
            FeedForward(embedding_dim, inner_width=width, dropout=dropout) for _ in range(layers)
        )
        initialise(self)

    def settings(self) -> dict[str, Any]:
        """Its settings without `kind`: those that differ from the defaults."""
        return differing(MergeAttentionSettings, self.chosen)

    def forward(self, parts: Mapping[str, TokenStates]) -> Tensor:
        """`{part: (U, S, E)}` -> (U, E)."""
        tokens = concatenate(self.types([parts[name] for name in self.parts]))
        for attention, feed_forward in zip(self.attention, self.feed_forward, strict=True):
            tokens = tokens._replace(states=feed_forward(attention(tokens.states, tokens)))
        return tokens.mean()


MERGE_ATTENTION = FusionKind(
    settings=MergeAttentionSettings, fusion=MergeAttention, joins="tokens", least=2
)
