"""BERT4Rec (arXiv 1904.06690): bidirectional self-attention that predicts the items behind mask tokens.

B sequences, L positions, E embedding. Sequences are left-padded: the newest item is last.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.adaptation import MethodSetting
from models.sequence.attention import Dropout, attention_bias
from models.sequence.kind import SequenceKind
from models.sequence.positions import Positions
from models.sequence.sasrec import (
    LAYER_NORM_EPS,
    Block,
    initialise,
    refuse_unfit_shape,
)

Activation = Literal["gelu", "relu"]
_ACTIVATIONS: dict[Activation, Callable[[Tensor], Tensor]] = {"gelu": F.gelu, "relu": F.relu}


@dataclass
class BERT4RecSettings:
    """BERT4Rec. It requires `train.objective masked-item`, whose `train.mask_ratio` is the fraction of hidden items.

    Args:
        kind: name of the sequence encoder.
        max_len: items of a history, L; a mask token follows them in ranking. The last L + 3 interactions of each user are
            kept.
        heads: number of attention heads.
        blocks: number of transformer blocks.
        dropout: dropout probability.
        inner: inner width of the feed-forward networks as a multiple of the embedding width.
        activation: activation of the feed-forward networks: `gelu`, as in the paper, or `relu`, as in NineRec.
        biases: whether the attention's linear layers have biases, as in the paper; NineRec has none.
        output_layer: whether a linear layer, GELU and LayerNorm follow the last block, as in the paper.
        adapt: what trains of an encoder with initial weights, by a method of `--adapt`; empty to train all of it in the
            group `base`.
        adapt_settings: settings of this method by name.
    """

    kind: str = "bert4rec"
    max_len: int = 10
    heads: int = 2
    blocks: int = 2
    dropout: float = 0.1
    inner: int = 4
    activation: Activation = "gelu"
    biases: bool = True
    output_layer: bool = False
    adapt: str = ""
    adapt_settings: dict[str, MethodSetting] = field(default_factory=dict)


class BERT4Rec(nn.Module):
    """Bidirectional sequence encoder with post-LN blocks, learned position embeddings and a learned mask vector.

    The state at a mask token predicts the item behind it. In ranking, a mask token follows the history. The mask vector
    belongs to this encoder and not to the item table, so it is neither a negative nor a candidate.

    Args:
        embedding_dim: E.
        max_len: maximum number of items L; an input may have L + 1 positions.
        heads: number of attention heads; E must be divisible by it.
        blocks: number of transformer blocks.
        dropout: dropout probability of all layers.
        inner: inner width of the feed-forward networks as a multiple of E.
        activation: activation of the feed-forward networks.
        biases: whether the attention's linear layers have biases.
        output_layer: whether LN(GELU(W h + b)) follows the last block. The paper's bias per item is left out, because
            scores are dot products.
        skip_padding: whether to skip padding where that is faster; the states at padding are then meaningless.
        initial_std: standard deviation of the initial weights; by default they are Xavier normal.

    Raises:
        ValueError: if E is not divisible by `heads`, or a number is below 1.
    """

    takes_mask = True

    def __init__(
        self,
        *,
        embedding_dim: int = 64,
        max_len: int = 10,
        heads: int = 2,
        blocks: int = 2,
        dropout: float = 0.1,
        inner: int = 4,
        activation: Activation = "gelu",
        biases: bool = True,
        output_layer: bool = False,
        skip_padding: bool = True,
        initial_std: float | None = None,
    ) -> None:
        super().__init__()
        refuse_unfit_shape(embedding_dim, heads=heads, blocks=blocks, inner=inner)
        self.max_len = max_len
        self.heads, self.inner, self.activation, self.biases = heads, inner, activation, biases
        self.skip_padding = skip_padding
        self.mask = nn.Embedding(1, embedding_dim)
        self.positions = nn.Embedding(max_len + 1, embedding_dim)
        self.norm = nn.LayerNorm(embedding_dim, eps=LAYER_NORM_EPS)
        self.dropout = Dropout(dropout)
        self.blocks = nn.ModuleList(
            Block(
                embedding_dim,
                heads=heads,
                dropout=dropout,
                biases=biases,
                inner=inner,
                activation=_ACTIVATIONS[activation],
            )
            for _ in range(blocks)
        )
        self.output = _output_layer(embedding_dim) if output_layer else None
        self.apply(partial(initialise, std=initial_std))
        nn.init.normal_(self.mask.weight, std=initial_std or embedding_dim**-0.5)

    def settings(self) -> dict[str, Any]:
        """Arguments that rebuild the encoder (`BERT4Rec(**settings)`), as a JSON object."""
        return {
            "embedding_dim": self.positions.embedding_dim,
            "max_len": self.max_len,
            "heads": self.heads,
            "blocks": len(self.blocks),
            "dropout": self.dropout.p,
            "inner": self.inner,
            "activation": self.activation,
            "biases": self.biases,
            "output_layer": self.output is not None,
        }

    def forward(self, items: Tensor, real: Tensor, masked: Tensor) -> Tensor:
        """States at each position.

        Args:
            items: (B, L', E) item embeddings, L' <= L + 1; a shorter input uses the last position embeddings. Values at
                mask tokens are not read.
            real: (B, L') false at padding.
            masked: (B, L') true at mask tokens.

        Returns:
            (B, L', E). Each state depends on the items before and after its position. Values at padding are meaningless.

        Raises:
            ValueError: if the input is longer than `max_len` + 1.
        """
        length = items.shape[1]
        if length > self.max_len + 1:
            raise ValueError(
                f"sequences have {length} positions; expected at most max_len {self.max_len} and a mask token"
            )
        items = torch.where(masked[..., None], self.mask.weight.to(items.dtype), items)
        bias = attention_bias(real, causal=False)
        positions = Positions(real, skip_padding=self.skip_padding)
        embedded = positions.pick(items + self.positions.weight[self.max_len + 1 - length :])
        x = self.dropout(self.norm(embedded))
        for block in self.blocks:
            x = block(x, bias, positions)
        return positions.spread(x if self.output is None else self.output(x))


def _output_layer(width: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(width, width), nn.GELU(), nn.LayerNorm(width, eps=LAYER_NORM_EPS)
    )


def _about(settings: BERT4RecSettings) -> str:
    return (
        f"BERT4Rec, {settings.blocks} bidirectional blocks of {settings.heads} heads, over {settings.max_len} items and a "
        "mask token"
    )


BERT4REC = SequenceKind(settings=BERT4RecSettings, encoder=BERT4Rec, about=_about)
