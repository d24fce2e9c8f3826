"""The user encoder of IISAN-Versa: SASRec (arXiv 1808.09781) with post-LN blocks.

B sequences, L positions, P computed positions (`models.sequence.positions`), E embedding. Sequences are left-padded:
the newest item is last.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from models.adaptation import MethodSetting
from models.sequence.attention import Dropout, attend, attention_bias, side_by_side
from models.sequence.kind import SequenceKind
from models.sequence.positions import Positions

LAYER_NORM_EPS = 1e-6


@dataclass
class SASRecSettings:
    """The sequence encoder.

    Args:
        kind: name of the sequence encoder.
        max_len: inputs per sequence, L; the last L + 3 interactions of each user are kept.
        heads: number of attention heads.
        blocks: number of transformer blocks.
        dropout: dropout probability.
        adapt: what trains of an encoder with initial weights (`init_from`), by a method of `--adapt` such as `houlsby`;
            empty to train all of it in the group `base`.
        adapt_settings: settings of this method by name.
    """

    kind: str = "sasrec"
    max_len: int = 10
    heads: int = 2
    blocks: int = 2
    dropout: float = 0.1
    adapt: str = ""
    adapt_settings: dict[str, MethodSetting] = field(default_factory=dict)


class SelfAttention(nn.Module):
    """Multi-head self-attention, followed by residual and LayerNorm.

    Args:
        width: E, divisible by `heads`.
        heads: number of attention heads.
        dropout: dropout probability of attention weights and output.
        biases: whether the four linear layers have biases.
    """

    def __init__(self, width: int, *, heads: int, dropout: float, biases: bool = False) -> None:
        super().__init__()
        self.heads = heads
        self.query = nn.Linear(width, width, bias=biases)
        self.key = nn.Linear(width, width, bias=biases)
        self.value = nn.Linear(width, width, bias=biases)
        self.output = nn.Linear(width, width, bias=biases)
        self.dropout = Dropout(dropout)
        self.norm = nn.LayerNorm(width, eps=LAYER_NORM_EPS)

    def forward(self, x: Tensor, bias: Tensor, positions: Positions) -> Tensor:
        """(P, E), and (B, 1, L, L) added to the scores -> (P, E)."""
        projected = side_by_side([self.query, self.key, self.value], x)
        dropout = self.dropout.p if self.training else 0.0
        context = attend(projected, bias, positions, heads=self.heads, dropout=dropout)
        return self.norm(x + self.dropout(self.output(context)))

    def last(self, x: Tensor, bias: Tensor, positions: Positions) -> Tensor:
        """(P, E) -> (B, E): the output at the last position, without dropout. `bias` is that of `forward`."""
        last = positions.spread(x)[:, -1]
        query = self.query(last).unflatten(-1, (self.heads, 1, -1))
        key, value = (
            positions.spread(layer(x)).unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for layer in (self.key, self.value)
        )
        mask = bias[:, :, -1:].to(query.dtype)
        context = F.scaled_dot_product_attention(query, key, value, attn_mask=mask)
        return self.norm(last + self.output(context.flatten(1)))


class FeedForward(nn.Module):
    """Two layers with an activation between them, followed by residual and LayerNorm.

    Args:
        width: E.
        dropout: dropout probability of the output.
        inner: inner width as a multiple of E.
        activation: function of the inner values, which it may overwrite.
    """

    def __init__(
        self,
        width: int,
        *,
        dropout: float,
        inner: int = 4,
        activation: Callable[[Tensor], Tensor] = Tensor.relu_,
    ) -> None:
        super().__init__()
        self.activation = activation
        self.expand = nn.Linear(width, inner * width)
        self.contract = nn.Linear(inner * width, width)
        self.dropout = Dropout(dropout)
        self.norm = nn.LayerNorm(width, eps=LAYER_NORM_EPS)

    def forward(self, x: Tensor) -> Tensor:
        """(P, E) -> (P, E)."""
        return self.norm(x + self.dropout(self.contract(self.activation(self.expand(x)))))


class Block(nn.Module):
    """A transformer block: attention, then feed-forward.

    Args:
        width: E.
        heads: number of attention heads.
        dropout: dropout probability of both layers.
        biases: whether the attention's linear layers have biases.
        inner: inner width of the feed-forward network as a multiple of E.
        activation: function of its inner values.
    """

    def __init__(
        self,
        width: int,
        *,
        heads: int,
        dropout: float,
        biases: bool = False,
        inner: int = 4,
        activation: Callable[[Tensor], Tensor] = Tensor.relu_,
    ) -> None:
        super().__init__()
        self.attention = SelfAttention(width, heads=heads, dropout=dropout, biases=biases)
        self.feed_forward = FeedForward(width, dropout=dropout, inner=inner, activation=activation)

    def forward(self, x: Tensor, bias: Tensor, positions: Positions) -> Tensor:
        """(P, E), (B, 1, L, L) -> (P, E)."""
        return self.feed_forward(self.attention(x, bias, positions))

    def last(self, x: Tensor, bias: Tensor, positions: Positions) -> Tensor:
        """(P, E), (B, 1, L, L) -> (B, E): the output at the last position, without dropout."""
        return self.feed_forward(self.attention.last(x, bias, positions))


class SASRec(nn.Module):
    """Self-attentive sequence encoder with learned position embeddings.

    Args:
        embedding_dim: E.
        max_len: maximum input length L.
        heads: number of attention heads; E must be divisible by it.
        blocks: number of transformer blocks.
        dropout: dropout probability of all layers.
        skip_padding: whether to skip padding where that is faster; the states at padding are then meaningless. If
            false, they equal those of the public code.
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
        skip_padding: bool = True,
        initial_std: float | None = None,
    ) -> None:
        super().__init__()
        refuse_unfit_shape(embedding_dim, heads=heads, blocks=blocks)
        self.max_len = max_len
        self.skip_padding = skip_padding
        self.positions = nn.Embedding(max_len, embedding_dim)
        self.norm = nn.LayerNorm(embedding_dim, eps=LAYER_NORM_EPS)
        self.dropout = Dropout(dropout)
        self.blocks = nn.ModuleList(
            Block(embedding_dim, heads=heads, dropout=dropout) for _ in range(blocks)
        )
        self.apply(partial(initialise, std=initial_std))

    def settings(self) -> dict[str, Any]:
        """Arguments that rebuild the encoder (`SASRec(**settings)`), as a JSON object."""
        first: Block = self.blocks[0]  # type: ignore[assignment]
        return {
            "embedding_dim": self.positions.embedding_dim,
            "max_len": self.max_len,
            "heads": first.attention.heads,
            "blocks": len(self.blocks),
            "dropout": self.dropout.p,
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
        x, bias, positions = self._embedded(items, real)
        for block in self.blocks:
            x = block(x, bias, positions)
        return positions.spread(x)

    def last_states(self, items: Tensor, real: Tensor) -> Tensor:
        """States after the last position, (B, E), without dropout: `forward(items, real)[:, -1]` in evaluation mode.

        The last block computes no other position, unless the encoder is adapted: a method may act on whole blocks. Arguments
        and errors are those of `forward`.
        """
        if hasattr(self, "adapted"):
            return self(items, real)[:, -1]
        x, bias, positions = self._embedded(items, real)
        last: Block = self.blocks[-1]  # type: ignore[assignment]
        for block in self.blocks[:-1]:
            x = block(x, bias, positions)
        states = last.last(x, bias, positions)
        return states if positions.rows is None else states * real[:, -1:]

    def _embedded(self, items: Tensor, real: Tensor) -> tuple[Tensor, Tensor, Positions]:
        """The input of the first block, (P, E), the values added to attention scores, and the computed positions."""
        length = items.shape[1]
        refuse_too_long(length, self.max_len)
        bias = attention_bias(real, causal=True)
        positions = Positions(real, skip_padding=self.skip_padding)
        embedded = positions.pick(items + self.positions.weight[self.max_len - length :])
        return self.dropout(self.norm(embedded)), bias, positions


def initialise(module: nn.Module, *, std: float | None) -> None:
    """Sets the initial weights of a linear layer or table: Xavier normal, or with a standard deviation; biases are 0."""
    if isinstance(module, nn.Linear | nn.Embedding):
        if std is None:
            nn.init.xavier_normal_(module.weight)
        else:
            nn.init.normal_(module.weight, std=std)
    if isinstance(module, nn.Linear) and module.bias is not None:
        nn.init.zeros_(module.bias)


def _about(settings: SASRecSettings) -> str:
    adapted = f", adapted by {settings.adapt}" if settings.adapt else ""
    return (
        f"SASRec, {settings.blocks} blocks of {settings.heads} heads, over {settings.max_len} items"
        f"{adapted}"
    )


def refuse_unfit_shape(embedding_dim: int, *, heads: int, blocks: int, inner: int = 1) -> None:
    """Refuses blocks that have no weights, and a width that cannot be split into heads.

    Raises:
        ValueError: if a number is below 1, or `embedding_dim` is not divisible by `heads`.
    """
    numbers = {"embedding_dim": embedding_dim, "heads": heads, "blocks": blocks, "inner": inner}
    for name, number in numbers.items():
        if number < 1:
            raise ValueError(f"{name} is {number}; it must be at least 1")
    if embedding_dim % heads:
        raise ValueError(f"embedding_dim {embedding_dim} is not divisible by heads {heads}")


def refuse_too_long(length: int, max_len: int) -> None:
    """Refuses an input that is longer than the position embeddings.

    Raises:
        ValueError: if `length` exceeds `max_len`.
    """
    if length > max_len:
        raise ValueError(f"sequences have {length} items; expected at most max_len {max_len}")


SASREC = SequenceKind(settings=SASRecSettings, encoder=SASRec, about=_about)
