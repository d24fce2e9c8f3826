"""IISAN-Versa as in its equations (REFERENCE §2), for two towers of equal depth and width.

Nothing is shared, fused or skipped. Versa's network is compared with this one. Parameters have the same names, so that
weights can be copied.

B sequences, L inputs, M items (occurrences), K kept states, D width, E embedding, H heads.
"""

import math
from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

TEMPERATURE = 0.1
EPS = 1e-6


class SideBlock(nn.Module):
    """y = x + W_up · relu(W_down · x)."""

    def __init__(self, width: int, bottleneck: int) -> None:
        super().__init__()
        self.down = nn.Linear(width, bottleneck)
        self.up = nn.Linear(bottleneck, width)

    def forward(self, x: Tensor) -> Tensor:
        """(M, D) -> (M, D)."""
        return x + self.up(F.relu(self.down(x)))


class Gates(nn.Module):
    """g_i = sigmoid(μ_i / 0.1)."""

    def __init__(self, levels: int) -> None:
        super().__init__()
        self.logits = nn.Parameter(torch.zeros(levels))

    def forward(self) -> Tensor:
        """(K,)."""
        return torch.sigmoid(self.logits / TEMPERATURE)


class Tower(nn.Module):
    """Base of intra and inter towers: a block and a gate per level, two linear layers on top."""

    def __init__(
        self, levels: int, width: int, bottleneck: int, inner: int, embedding: int
    ) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(SideBlock(width, bottleneck) for _ in range(levels))
        self.gates = Gates(levels)
        self.head = nn.Linear(width, inner)
        self.project = nn.Linear(inner, embedding)

    def intra(self, states: Tensor) -> Tensor:
        """s_i = block_i(g_i·h_i + (1-g_i)·s_{i-1}).  (M, K, D) -> (M, E)."""
        side = torch.zeros_like(states[:, 0])
        for level, (gate, block) in enumerate(zip(self.gates(), self.blocks, strict=True)):
            side = block(gate * states[:, level] + (1 - gate) * side)
        return self.project(self.head(side))

    def inter(self, text: Tensor, image: Tensor) -> Tensor:
        """s_i = block_i(s_{i-1} + g_i·image_i + (1-g_i)·text_i).  (M, K, D) twice -> (M, E)."""
        side = torch.zeros_like(text[:, 0])
        for level, (gate, block) in enumerate(zip(self.gates(), self.blocks, strict=True)):
            side = block(side + gate * image[:, level] + (1 - gate) * text[:, level])
        return self.project(self.head(side))


class ItemEncoder(nn.Module):
    """Two intra towers, the inter tower, and a linear layer over all three."""

    def __init__(self, levels: int, width: int, embedding: int, bottleneck: int) -> None:
        super().__init__()
        sizes = (levels, width, bottleneck)
        # As `Tower`s, called by their equation; the names are Versa's.
        self.intra = nn.ModuleList(Tower(*sizes, embedding, embedding) for _ in range(2))
        self.inter = Tower(*sizes, width, embedding)
        self.fusion = nn.Linear(3 * embedding, embedding)

    def forward(self, text: Tensor, image: Tensor) -> Tensor:
        """(M, K, D) twice -> (M, E)."""
        one, other = self.intra[0].intra(text), self.intra[1].intra(image)  # type: ignore[operator]
        return self.fusion(torch.cat([one, other, self.inter.inter(text, image)], dim=1))


class Attention(nn.Module):
    """Multi-head attention without biases, residual, LayerNorm."""

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads = heads
        self.query = nn.Linear(width, width, bias=False)
        self.key = nn.Linear(width, width, bias=False)
        self.value = nn.Linear(width, width, bias=False)
        self.output = nn.Linear(width, width, bias=False)
        self.norm = nn.LayerNorm(width, eps=EPS)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, hidden: Tensor) -> Tensor:
        """(B, L, E), (B, L, L) true where a position may not look -> (B, L, E)."""
        query, key, value = (
            torch.stack(layer(x).chunk(self.heads, dim=2), dim=1)  # (B, H, L, E / H)
            for layer in (self.query, self.key, self.value)
        )
        scores = query @ key.transpose(2, 3) / math.sqrt(query.shape[3])
        weights = self.dropout(scores.masked_fill(hidden[:, None], -1e9).softmax(dim=3))
        joined = torch.cat((weights @ value).unbind(dim=1), dim=2)
        return self.norm(x + self.dropout(self.output(joined)))


class FeedForward(nn.Module):
    """Two layers, ReLU between them, residual, LayerNorm."""

    def __init__(self, width: int, dropout: float) -> None:
        super().__init__()
        self.expand = nn.Linear(width, 4 * width)
        self.contract = nn.Linear(4 * width, width)
        self.norm = nn.LayerNorm(width, eps=EPS)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        """(B, L, E) -> (B, L, E)."""
        return self.norm(x + self.dropout(self.contract(F.relu(self.expand(x)))))


class Block(nn.Module):
    """Attention, then feed-forward."""

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.attention = Attention(width, heads, dropout)
        self.feed_forward = FeedForward(width, dropout)

    def forward(self, x: Tensor, hidden: Tensor) -> Tensor:
        """(B, L, E) -> (B, L, E)."""
        return self.feed_forward(self.attention(x, hidden))


class UserEncoder(nn.Module):
    """Learned positions and post-LN blocks over left-padded sequences."""

    def __init__(self, width: int, length: int, *, heads: int, blocks: int, dropout: float) -> None:
        super().__init__()
        self.positions = nn.Embedding(length, width)
        self.norm = nn.LayerNorm(width, eps=EPS)
        self.dropout = nn.Dropout(dropout)
        self.blocks = nn.ModuleList(Block(width, heads, dropout) for _ in range(blocks))

    def forward(self, items: Tensor, ids: Tensor) -> Tensor:
        """(B, L, E), (B, L) 0 at padding -> (B, L, E)."""
        length = ids.shape[1]
        future = torch.ones(length, length, dtype=torch.bool).triu(1)
        hidden = future | (ids == 0)[:, None, :]
        x = self.dropout(self.norm(items + self.positions(torch.arange(length))))
        for block in self.blocks:
            x = block(x, hidden)
        return x


class Reference(nn.Module):
    """The whole network.

    Args:
        levels: K.
        width: D.
        embedding: E.
        bottleneck: inner width of the side blocks.
        length: L.
        heads: H.
        blocks: of the user encoder.
        dropout: of the user encoder.
    """

    def __init__(
        self,
        *,
        levels: int,
        width: int,
        embedding: int = 64,
        bottleneck: int = 64,
        length: int = 10,
        heads: int = 2,
        blocks: int = 2,
        dropout: float = 0.1,
    ) -> None:
        super().__init__()
        self.item_encoder = ItemEncoder(levels, width, embedding, bottleneck)
        self.sequence_encoder = UserEncoder(
            embedding, length, heads=heads, blocks=blocks, dropout=dropout
        )

    def copy_weights(self, versa: Mapping[str, Tensor]) -> None:
        """Copies Versa's weights, whose intra towers have the towers' names; here they are numbered, in the same order."""
        intra = "item_encoder.intra."
        towers = dict.fromkeys(
            name.removeprefix(intra).split(".")[0] for name in versa if name.startswith(intra)
        )
        numbers = {f"{intra}{tower}.": f"{intra}{n}." for n, tower in enumerate(towers)}
        renamed = {}
        for name, value in versa.items():
            old = next((prefix for prefix in numbers if name.startswith(prefix)), "")
            renamed[numbers.get(old, "") + name.removeprefix(old)] = value
        self.load_state_dict(renamed)
