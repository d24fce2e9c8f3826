"""eSASRec's user encoder (arXiv 2508.06450): causal self-attention in LiGR blocks (arXiv 2502.03417).

B sequences, L positions, P computed positions (`models.sequence.positions`), E embedding. Sequences are left-padded:
the newest item is last.
"""

from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from models.adaptation import MethodSetting
from models.sequence.attention import Dropout, attend, attention_bias, side_by_side
from models.sequence.kind import SequenceKind
from models.sequence.positions import Positions
from models.sequence.sasrec import initialise, refuse_too_long, refuse_unfit_shape


@dataclass
class LiGRSettings:
    """The LiGR blocks of eSASRec.

    Args:
        kind: name of the sequence encoder.
        max_len: inputs per sequence, L; the last L + 3 interactions of each user are kept.
        heads: number of attention heads.
        blocks: number of blocks.
        dropout: dropout probability.
        inner: inner width of the feed-forward networks as a multiple of the embedding width.
        adapt: what trains of an encoder with initial weights, by a method of `--adapt`; empty to train all of it in the
            group `base`.
        adapt_settings: settings of this method by name.
    """

    kind: str = "ligr"
    max_len: int = 10
    heads: int = 2
    blocks: int = 2
    dropout: float = 0.1
    inner: int = 4
    adapt: str = ""
    adapt_settings: dict[str, MethodSetting] = field(default_factory=dict)


class Attention(nn.Module):
    """Multi-head self-attention with biases; scores are divided by sqrt(E / heads).

    Args:
        width: E, divisible by `heads`.
        heads: number of attention heads.
        dropout: dropout probability of attention weights.
    """

    def __init__(self, width: int, *, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads, self.dropout = heads, dropout
        self.query, self.key, self.value = (nn.Linear(width, width) for _ in range(3))
        self.output = nn.Linear(width, width)

    def forward(self, x: Tensor, bias: Tensor, positions: Positions) -> Tensor:
        """(P, E), and (B, 1, L, L) added to the scores -> (P, E)."""
        projected = side_by_side([self.query, self.key, self.value], x)
        dropout = self.dropout if self.training else 0.0
        return self.output(attend(projected, bias, positions, heads=self.heads, dropout=dropout))


class SwiGLU(nn.Module):
    """W_3 (SiLU(W_1 x) ⊙ W_2 x), without biases (arXiv 2002.05202).

    Args:
        width: E.
        inner: rows of W_1 and W_2.
        dropout: dropout probability of the inner values.
    """

    def __init__(self, width: int, *, inner: int, dropout: float) -> None:
        super().__init__()
        self.gate = nn.Linear(width, inner, bias=False)
        self.expand = nn.Linear(width, inner, bias=False)
        self.contract = nn.Linear(inner, width, bias=False)
        self.dropout = Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        """(P, E) -> (P, E)."""
        return self.contract(self.dropout(F.silu(self.gate(x)) * self.expand(x)))


class LiGRBlock(nn.Module):
    """x ← x + σ(W_a x + b_a) ⊙ Attention(LN(x)), then x ← x + σ(W_f x + b_f) ⊙ SwiGLU(LN(x)).

    Args:
        width: E.
        heads: number of attention heads.
        dropout: dropout probability of both layers.
        inner: inner width of the feed-forward network as a multiple of E.
    """

    def __init__(self, width: int, *, heads: int, dropout: float, inner: int) -> None:
        super().__init__()
        self.attention_norm = nn.LayerNorm(width)
        self.attention = Attention(width, heads=heads, dropout=dropout)
        self.attention_gate = nn.Linear(width, width)
        self.feed_forward_norm = nn.LayerNorm(width)
        self.feed_forward = SwiGLU(width, inner=inner * width, dropout=dropout)
        self.feed_forward_gate = nn.Linear(width, width)
        self.dropout = Dropout(dropout)

    def forward(self, x: Tensor, bias: Tensor, positions: Positions) -> Tensor:
        """(P, E), (B, 1, L, L) -> (P, E)."""
        attended = self.attention(self.attention_norm(x), bias, positions)
        x = x + self.attention_gate(x).sigmoid() * self.dropout(attended)
        expanded = self.feed_forward(self.feed_forward_norm(x))
        return x + self.feed_forward_gate(x).sigmoid() * self.dropout(expanded)


class LiGR(nn.Module):
    """Causal sequence encoder of pre-LN blocks with gated residual connections and learned position embeddings.

    As in RecTools, there is no norm before the first or after the last block.

    Args:
        embedding_dim: E.
        max_len: maximum input length L.
        heads: number of attention heads; E must be divisible by it.
        blocks: number of blocks.
        dropout: dropout probability of all layers.
        inner: inner width of the feed-forward networks as a multiple of E.
        skip_padding: whether to skip padding where that is faster; the states at padding are then meaningless.
        initial_std: standard deviation of the initial weights; by default they are Xavier normal.

    Raises:
        ValueError: if E is not divisible by `heads`, or a number is below 1.
    """

    def __init__(
        self,
        *,
        embedding_dim: int = 64,
        max_len: int = 10,
        heads: int = 2,
        blocks: int = 2,
        dropout: float = 0.1,
        inner: int = 4,
        skip_padding: bool = True,
        initial_std: float | None = None,
    ) -> None:
        super().__init__()
        refuse_unfit_shape(embedding_dim, heads=heads, blocks=blocks, inner=inner)
        self.max_len, self.heads, self.inner = max_len, heads, inner
        self.skip_padding = skip_padding
        self.positions = nn.Embedding(max_len, embedding_dim)
        self.dropout = Dropout(dropout)
        self.blocks = nn.ModuleList(
            LiGRBlock(embedding_dim, heads=heads, dropout=dropout, inner=inner)
            for _ in range(blocks)
        )
        self.apply(partial(initialise, std=initial_std))

    def settings(self) -> dict[str, Any]:
        """Arguments that rebuild the encoder (`LiGR(**settings)`), as a JSON object."""
        return {
            "embedding_dim": self.positions.embedding_dim,
            "max_len": self.max_len,
            "heads": self.heads,
            "blocks": len(self.blocks),
            "dropout": self.dropout.p,
            "inner": self.inner,
        }

    def forward(self, items: Tensor, real: Tensor) -> Tensor:
        """States after each position.

        Args:
            items: (B, L', E) item embeddings, L' <= L; a shorter input uses the last position embeddings.
            real: (B, L') false at padding.

        Returns:
            (B, L', E). The state at position l depends on items 0..l only. Values at padding are meaningless.

        Raises:
            ValueError: if the input is longer than `max_len`.
        """
        length = items.shape[1]
        refuse_too_long(length, self.max_len)
        bias = attention_bias(real, causal=True)
        positions = Positions(real, skip_padding=self.skip_padding)
        x = self.dropout(positions.pick(items + self.positions.weight[self.max_len - length :]))
        for block in self.blocks:
            x = block(x, bias, positions)
        return positions.spread(x)


def _about(settings: LiGRSettings) -> str:
    return f"eSASRec's LiGR blocks, {settings.blocks} of {settings.heads} heads, over {settings.max_len} items"


LIGR = SequenceKind(settings=LiGRSettings, encoder=LiGR, about=_about)
