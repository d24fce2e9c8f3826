"""K-Adapter (arXiv 2002.01808): a side stack that reads the frozen encoder's states and joins its last one.

With s_j the j-th tapped state and a_0 = 0, z_j = s_j + a_{j-1} and a_j = z_j + W_up · T(W_down · z_j): T is a stack of
transformer blocks of a small width. The last state becomes W · [s; a]. The join begins at random, as in the paper, so
this method is not the identity at first. The published code of Adapter4Rec lets T attend to padding, and in the user
encoder to later items; ours attends where the encoder does.

B items, S tokens, D width, H hidden width of T.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.adaptation.attached import place_like
from models.adaptation.kind import AdaptationKind, Target
from models.parameters import in_group
from toolkit.backbones import Encoder, Hidden
from toolkit.errors import UserError

_START = 0.0002  # deviation of W_down and W_up, that of the paper's code
_EPS = 1e-6
_MASKED = -1e9


@dataclass
class KAdapterSettings:
    """A side stack that reads the encoder's states.

    Args:
        width: H, of its blocks.
        heads: of their attention.
        blocks: per tapped layer.
        layers: the tapped layers, counted from 0; empty for the first and the last. In a user encoder the inputs of
            these blocks are read, elsewhere the outputs.
    """

    width: int = 192
    heads: int = 12
    blocks: int = 2
    layers: list[int] = field(default_factory=list)


class Attention(nn.Module):
    """Self-attention without biases, then residual and LayerNorm.

    Args:
        width: H.
        heads: number of heads.
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query, self.key, self.value, self.output = (
            nn.Linear(width, width, bias=False) for _ in range(4)
        )
        self.norm = nn.LayerNorm(width, eps=_EPS)

    def forward(self, x: Tensor, bias: Tensor | None) -> Tensor:
        """(B, S, H), what is added to the scores, (B, 1, S or 1, S) -> (B, S, H)."""
        query, key, value = (
            layer(x).unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for layer in (self.query, self.key, self.value)
        )
        mask = None if bias is None else bias.to(query.dtype)
        context = F.scaled_dot_product_attention(query, key, value, attn_mask=mask)
        out: Tensor = self.norm(x + self.output(context.transpose(1, 2).flatten(2)))
        return out


class FeedForward(nn.Module):
    """Two layers with ReLU, four times as wide inside, then residual and LayerNorm.

    Args:
        width: H.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.expand = nn.Linear(width, 4 * width)
        self.contract = nn.Linear(4 * width, width)
        self.norm = nn.LayerNorm(width, eps=_EPS)

    def forward(self, x: Tensor) -> Tensor:
        """(B, S, H) -> (B, S, H)."""
        out: Tensor = self.norm(x + self.contract(F.relu(self.expand(x))))
        return out


class SideBlock(nn.Module):
    """Attention, then feed-forward, as in SASRec.

    Args:
        width: H.
        heads: number of heads.
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.attention = Attention(width, heads)
        self.feed_forward = FeedForward(width)

    def forward(self, x: Tensor, bias: Tensor | None) -> Tensor:
        """(B, S, H) -> (B, S, H)."""
        out: Tensor = self.feed_forward(self.attention(x, bias))
        return out


class Tap(nn.Module):
    """z + W_up · T(W_down · z).

    Args:
        features: D.
        settings: of the method.
    """

    def __init__(self, features: int, settings: KAdapterSettings) -> None:
        super().__init__()
        self.down = nn.Linear(features, settings.width)
        self.blocks = nn.ModuleList(
            SideBlock(settings.width, settings.heads) for _ in range(settings.blocks)
        )
        self.up = nn.Linear(settings.width, features)
        for layer in (self.down, self.up):
            nn.init.normal_(layer.weight, std=_START)
            nn.init.zeros_(layer.bias)

    def forward(self, z: Tensor, bias: Tensor | None) -> Tensor:
        """(B, S, D) -> (B, S, D)."""
        x = self.down(z)
        for block in self.blocks:
            x = block(x, bias)
        return z + self.up(x)


class KAdapter(nn.Module):
    """W · [s; a] from the last state s and the tapped states.

    Args:
        features: D.
        taps: how many states are tapped.
        settings: of the method.
    """

    def __init__(self, features: int, taps: int, settings: KAdapterSettings) -> None:
        super().__init__()
        self.taps = nn.ModuleList(Tap(features, settings) for _ in range(taps))
        self.join = nn.Linear(2 * features, features)

    def forward(self, tapped: Sequence[Tensor], last: Tensor, bias: Tensor | None) -> Tensor:
        """States (B, S, D) of the tapped layers and of the last -> (B, S, D)."""
        dtype = self.join.weight.dtype
        carried = torch.zeros((), dtype=dtype, device=last.device)
        for tap, state in zip(self.taps, tapped, strict=True):
            carried = tap(state.to(dtype) + carried, bias)
        joined: Tensor = self.join(torch.cat([last.to(dtype), carried], dim=-1))
        return joined.to(last.dtype)


@dataclass
class JoinedRun:
    """An encoder's `run` whose last used state is joined with the side stack.

    Args:
        run: of the encoder before.
        adapter: the side stack.
        tapped: indices of the states that it reads.
        last: index of the state that it replaces.
    """

    run: Callable[[Any, dict[str, Tensor]], Hidden]
    adapter: KAdapter
    tapped: tuple[int, ...]
    last: int

    def __call__(self, model: Any, inputs: dict[str, Tensor]) -> Hidden:
        """The hidden states, the last of them joined."""
        hidden = self.run(model, inputs)
        states = list(hidden.states)
        bias = None
        if hidden.mask is not None:
            bias = torch.zeros(hidden.mask.shape, device=hidden.mask.device)
            bias = bias.masked_fill(hidden.mask == 0, _MASKED)[:, None, None, :]
        states[self.last] = self.adapter([states[i] for i in self.tapped], states[self.last], bias)
        return Hidden(states, hidden.mask)


class JoinedBlocks:
    """Hooks at the blocks of a user encoder: they record the tapped inputs and join the last output.

    Args:
        adapter: the side stack.
    """

    def __init__(self, adapter: KAdapter) -> None:
        self.adapter = adapter
        self.tapped: list[Tensor] = []

    def record(self, block: nn.Module, args: tuple[Any, ...]) -> None:
        """Called before a tapped block: its input, spread over all positions."""
        states, _, positions = args
        self.tapped.append(positions.spread(states))

    def join(self, block: nn.Module, args: tuple[Any, ...], output: Tensor) -> Tensor:
        """Called after the last block."""
        _, bias, positions = args
        tapped, self.tapped = self.tapped, []
        joined: Tensor = positions.pick(self.adapter(tapped, positions.spread(output), bias))
        return joined


def _k_adapter(target: Target, settings: KAdapterSettings) -> None:
    if settings.width < 1 or settings.width % settings.heads:
        raise UserError(
            f"adapt k-adapter: width {settings.width} is not divisible by heads {settings.heads}"
        )
    encoder = target.encoder
    if isinstance(encoder, Encoder):
        depth, features = max(encoder.kept), encoder.width
    else:
        depth, features = len(target.layers), encoder.settings()["embedding_dim"]  # type: ignore[operator]
    layers = settings.layers or sorted({0, depth - 1})
    if wrong := [layer for layer in layers if not 0 <= layer < depth]:
        raise UserError(
            f"adapt k-adapter: layer {wrong[0]} is not among the {depth} layers that the kept states depend on; choose "
            f"from 0 to {depth - 1}"
        )
    adapter = place_like(KAdapter(features, len(layers), settings), encoder)
    target.add(in_group(adapter, target.group("adapter")))
    if isinstance(encoder, Encoder):
        tapped = tuple(layer + 1 for layer in layers)
        encoder.run = JoinedRun(encoder.run, adapter, tapped, depth)  # type: ignore[arg-type]
        return
    hooks = JoinedBlocks(adapter)  # type: ignore[arg-type]
    for layer in sorted(layers):
        target.layers[layer].register_forward_pre_hook(hooks.record)
    target.layers[-1].register_forward_hook(hooks.join)


K_ADAPTER = AdaptationKind(
    settings=KAdapterSettings,
    apply=_k_adapter,
    groups=("adapter",),
    needs=("transformer layers of one width",),
    identity=False,
)
