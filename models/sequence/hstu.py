"""HSTU (arXiv 2402.17152): gated attention without softmax, with biases for relative positions and times.

B sequences, L positions, P computed positions (`models.sequence.positions`), H heads, E embedding. Sequences are
left-padded: the newest item is last.
"""

from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.adaptation import MethodSetting
from models.sequence.attention import Dropout
from models.sequence.kind import SequenceKind
from models.sequence.positions import Positions
from models.sequence.sasrec import LAYER_NORM_EPS, initialise, refuse_too_long, refuse_unfit_shape

TIME_BUCKETS = 128
BUCKET_WIDTH = 0.301  # of the natural logarithm of seconds, as in the public code
BIAS_STD = 0.02


@dataclass
class HSTUSettings:
    """HSTU. It reads the time of each interaction, so the dataset must have times.

    Args:
        kind: name of the sequence encoder.
        max_len: inputs per sequence, L; the last L + 3 interactions of each user are kept.
        heads: number of attention heads.
        blocks: number of layers.
        dropout: dropout probability.
        adapt: what trains of an encoder with initial weights, by a method of `--adapt`; empty to train all of it in the
            group `base`.
        adapt_settings: settings of this method by name.
    """

    kind: str = "hstu"
    max_len: int = 10
    heads: int = 2
    blocks: int = 2
    dropout: float = 0.1
    adapt: str = ""
    adapt_settings: dict[str, MethodSetting] = field(default_factory=dict)


class RelativeBias(nn.Module):
    """A learned bias per distance in positions, and one per distance in time: p_{l-m} + τ_{b(t_l - t_m)}.

    b(Δ) = floor(ln(max(1, |Δ| in seconds)) / 0.301), at most 128. The public code takes the time of the *next* item in
    place of t_l, which the state at position l cannot know when the next item is unknown. Here t_l is the time of the
    item itself, so a state depends on no later time.

    Args:
        max_len: maximum input length L.
    """

    def __init__(self, max_len: int) -> None:
        super().__init__()
        self.of_position = nn.Embedding(max_len, 1)
        self.of_time = nn.Embedding(TIME_BUCKETS + 1, 1)

    def initialise(self, std: float) -> None:
        """Draws the biases from a normal distribution around 0."""
        nn.init.normal_(self.of_position.weight, std=std)
        nn.init.normal_(self.of_time.weight, std=std)

    def forward(self, times: Tensor) -> Tensor:
        """(B, L) milliseconds -> (B, 1, L, L); values for keys after the query are meaningless."""
        index = torch.arange(times.shape[1], device=times.device)
        distance = (index[:, None] - index).clamp(min=0)
        seconds = (times[:, :, None] - times[:, None, :]).abs() // 1000
        bucket = (seconds.clamp(min=1).float().log() / BUCKET_WIDTH).long()
        of_time = self.of_time(bucket.clamp(max=TIME_BUCKETS))
        return (self.of_position(distance) + of_time).squeeze(-1)[:, None]


class HSTULayer(nn.Module):
    """U, V, Q, K = SiLU(W_1 LN(x)); y = x + W_2 (LN(A V) ⊙ U) + b_2, with A = SiLU(Q Kᵀ + bias) / L_max.

    The LayerNorms have no weights. A is 0 for keys after the query and at padding. It is divided by the maximum length,
    so that the number of padding positions does not affect the states.

    Args:
        width: E, divisible by `heads`.
        heads: number of attention heads.
        dropout: dropout probability of LN(A V) ⊙ U.
        max_len: maximum input length.
    """

    def __init__(self, width: int, *, heads: int, dropout: float, max_len: int) -> None:
        super().__init__()
        self.heads, self.max_len = heads, max_len
        self.bias = RelativeBias(max_len)
        self.project = nn.Linear(width, 4 * width, bias=False)
        self.output = nn.Linear(width, width)
        self.dropout = Dropout(dropout)

    def forward(self, x: Tensor, times: Tensor, visible: Tensor, positions: Positions) -> Tensor:
        """(P, E), (B, L) milliseconds, (B, 1, L, L) true for visible keys -> (P, E)."""
        width = x.shape[-1]
        gate, *projected = F.silu(self.project(_norm(x))).split(width, dim=-1)
        value, query, key = (
            positions.spread(part).unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for part in projected
        )
        scores = query @ key.transpose(2, 3) + self.bias(times)
        weights = (F.silu(scores) / self.max_len).masked_fill(~visible, 0.0)
        context = positions.pick((weights.to(value.dtype) @ value).transpose(1, 2).flatten(2))
        return x + self.output(self.dropout(_norm(context) * gate))


class HSTU(nn.Module):
    """Hierarchical sequential transduction units, with learned position embeddings and a final LayerNorm.

    Args:
        embedding_dim: E.
        max_len: maximum input length L.
        heads: number of attention heads; E must be divisible by it.
        blocks: number of layers.
        dropout: dropout probability of the inputs and of all layers.
        skip_padding: whether to skip padding where that is faster; the states at padding are then meaningless.
        initial_std: standard deviation of the initial weights; by default they are Xavier normal, and those of the
            relative biases 0.02.

    Raises:
        ValueError: if E is not divisible by `heads`, or a number is below 1.
    """

    takes_times = True

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
        self.max_len, self.heads = max_len, heads
        self.skip_padding = skip_padding
        self.positions = nn.Embedding(max_len, embedding_dim)
        self.dropout = Dropout(dropout)
        self.blocks = nn.ModuleList(
            HSTULayer(embedding_dim, heads=heads, dropout=dropout, max_len=max_len)
            for _ in range(blocks)
        )
        self.norm = nn.LayerNorm(embedding_dim, eps=LAYER_NORM_EPS)
        self.apply(partial(initialise, std=initial_std))
        for module in self.modules():
            if isinstance(module, RelativeBias):
                module.initialise(initial_std or BIAS_STD)

    def settings(self) -> dict[str, Any]:
        """Arguments that rebuild the encoder (`HSTU(**settings)`), as a JSON object."""
        return {
            "embedding_dim": self.positions.embedding_dim,
            "max_len": self.max_len,
            "heads": self.heads,
            "blocks": len(self.blocks),
            "dropout": self.dropout.p,
        }

    def forward(self, items: Tensor, real: Tensor, *, times: Tensor) -> Tensor:
        """States after each position.

        Args:
            items: (B, L', E) item embeddings, L' <= L; a shorter input uses the last position embeddings.
            real: (B, L') false at padding.
            times: (B, L') time of each item in milliseconds since 1970. Equal times are ordered by position.

        Returns:
            (B, L', E). The state at position l depends on items and times 0..l only. Values at padding are meaningless.

        Raises:
            ValueError: if the input is longer than `max_len`.
        """
        length = items.shape[1]
        refuse_too_long(length, self.max_len)
        earlier = torch.ones(length, length, dtype=torch.bool, device=items.device).tril()
        visible = earlier & real[:, None, None, :]
        positions = Positions(real, skip_padding=self.skip_padding)
        x = self.dropout(positions.pick(items + self.positions.weight[self.max_len - length :]))
        for block in self.blocks:
            x = block(x, times, visible, positions)
        return positions.spread(self.norm(x))


def _norm(x: Tensor) -> Tensor:
    return F.layer_norm(x, x.shape[-1:], eps=LAYER_NORM_EPS)


def _about(settings: HSTUSettings) -> str:
    return f"HSTU, {settings.blocks} layers of {settings.heads} heads, over {settings.max_len} items and their times"


HSTU_KIND = SequenceKind(settings=HSTUSettings, encoder=HSTU, about=_about)
