"""Prompt tuning and prefix tuning: learned tokens, or learned keys and values, that an encoder attends to.

B items, S tokens, n learned tokens, D width. With A the attention over the encoder's own tokens and A' that over the
learned ones too, the output is A + g · (A' - A), g one number per layer. It begins at 0, so that the encoder is at first
what it was; at g = 1 this is prompt tuning (arXiv 2104.08691, in images 2203.12119) and prefix tuning (arXiv 2101.00190)
as published. The encoder's own tokens keep their positions, and pooling does not read the learned ones. The published
text prompt of Adapter4Rec replaces the first words, the class token among them; ours stands before them.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

from models.adaptation.anatomy import members
from models.adaptation.attached import place_like
from models.adaptation.bottlenecks import width_of
from models.adaptation.gradients import expect_zero
from models.adaptation.kind import AdaptationKind, Target
from models.parameters import in_group
from toolkit.backbones import Hidden
from toolkit.errors import UserError

_ATTENTION = "versa_gated"
_START = 0.02  # deviation of the learned vectors at their start

Attend = Callable[[Tensor, Tensor, Tensor, Tensor | None], Tensor]


@dataclass
class PromptSettings:
    """Learned tokens before those of a text, or after the patches of an image.

    Args:
        tokens: n.
        gated: whether a gate per layer, 0 at first, decides how far they are attended to; otherwise the method is not
            the identity at its start.
    """

    tokens: int = 10
    gated: bool = True


@dataclass
class PrefixSettings:
    """Learned keys and values in every layer.

    Args:
        tokens: n.
        hidden: width of a layer with tanh that makes them from n vectors (D,); 0 learns them directly.
        gated: whether a gate per layer, 0 at first, decides how far they are attended to; otherwise the method is not
            the identity at its start.
    """

    tokens: int = 10
    hidden: int = 0
    gated: bool = True


class Gates(nn.Module):
    """g of every layer, or 1.

    Args:
        layers: how many.
        gated: whether they are learned.
    """

    def __init__(self, layers: int, *, gated: bool) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(layers)) if gated else None

    def mix(self, layer: int, own: Tensor, joint: Tensor) -> Tensor:
        """A + g · (A' - A)."""
        if self.weight is None:
            return joint
        return own + self.weight[layer].to(own.dtype) * (joint - own)


class Prompt(nn.Module):
    """n learned tokens that stand in the sequence beside the encoder's own.

    Args:
        tokens: n.
        width: D.
        layers: of the encoder.
        first: whether they come first.
        gated: whether their attention is gated.
    """

    def __init__(self, tokens: int, width: int, layers: int, *, first: bool, gated: bool) -> None:
        super().__init__()
        self.tokens = nn.Parameter(torch.randn(tokens, width) * _START)
        self.gates = Gates(layers, gated=gated)
        self.first = first
        if gated:
            expect_zero(self, "at first", "tokens")

    def insert(self, module: nn.Module, args: Any, output: Any) -> Any:
        """A forward hook at the embeddings: (B, S, D) -> (B, n + S, D)."""
        states: Tensor = output[0] if isinstance(output, tuple) else output
        tokens = self.tokens.to(states.dtype).expand(len(states), -1, -1)
        parts = (tokens, states) if self.first else (states, tokens)
        joined = torch.cat(parts, dim=1)
        return (joined, *output[1:]) if isinstance(output, tuple) else joined

    def own(self, length: int) -> slice:
        """Where the encoder's own tokens are among `length`."""
        count = len(self.tokens)
        return slice(count, None) if self.first else slice(0, length - count)

    def attend(
        self, layer: int, attend: Attend, states: tuple[Tensor, Tensor, Tensor], mask: Tensor | None
    ) -> Tensor:
        """Attention output (B, n + S, heads, d) of queries, keys and values (B, heads, n + S, d)."""
        joint = attend(*states, mask)
        own = self.own(joint.shape[1])
        queries, keys, values = (x[:, :, own] for x in states)
        alone = attend(queries, keys, values, None if mask is None else mask[..., own, own])
        mixed = self.gates.mix(layer, alone, joint[:, own])
        count = len(self.tokens)
        parts = (joint[:, :count], mixed) if self.first else (mixed, joint[:, -count:])
        return torch.cat(parts, dim=1)


class Prefix(nn.Module):
    """n learned keys and values of every layer: a table (n, layers · 2 · width), keys before values.

    Args:
        tokens: n.
        width: of keys and of values.
        layers: of the encoder.
        hidden: of the layer that makes the table; 0 for none.
        gated: whether their attention is gated.
    """

    def __init__(self, tokens: int, width: int, layers: int, *, hidden: int, gated: bool) -> None:
        super().__init__()
        self.width = width
        columns = layers * 2 * width
        self.table = nn.Parameter(torch.randn(tokens, width if hidden else columns) * _START)
        self.make = (
            nn.Sequential(nn.Linear(width, hidden), nn.Tanh(), nn.Linear(hidden, columns))
            if hidden
            else None
        )
        self.gates = Gates(layers, gated=gated)
        if gated:
            for module in self.modules():
                if module is not self.gates:
                    expect_zero(
                        module, "at first", *(n for n, _ in module.named_parameters(recurse=False))
                    )

    def attend(
        self, layer: int, attend: Attend, states: tuple[Tensor, Tensor, Tensor], mask: Tensor | None
    ) -> Tensor:
        """Attention output (B, S, heads, d) of queries, keys and values (B, heads, S, d)."""
        query, key, value = states
        table = self.table if self.make is None else self.make(self.table)
        columns = table.unflatten(1, (-1, 2, self.width))[:, layer]
        learned = [
            x.unflatten(-1, (key.shape[1], -1))
            .transpose(0, 1)
            .to(key.dtype)
            .expand(len(key), -1, -1, -1)
            for x in columns.unbind(1)
        ]
        keys, values = torch.cat([learned[0], key], dim=2), torch.cat([learned[1], value], dim=2)
        wide = None
        if mask is not None:  # every query sees the learned keys
            wide = F.pad(mask, (len(table), 0), value=True if mask.dtype == torch.bool else 0.0)
        return self.gates.mix(
            layer, attend(query, key, value, mask), attend(query, keys, values, wide)
        )


def gated_attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    **options: Any,
) -> tuple[Tensor, None]:
    """The attention function of an encoder with learned tokens, as transformers calls it."""

    def attend(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None) -> Tensor:
        out: Tensor = sdpa_attention_forward(module, query, key, value, mask, **options)[0]
        return out

    added, layer = getattr(module, "learned_tokens", (None, 0))
    if added is None:  # an attention of another purpose, such as between the frames of a clip
        return attend(query, key, value, attention_mask), None
    if attention_mask is None and getattr(module, "is_causal", False):
        length = query.shape[2]
        attention_mask = torch.ones(length, length, dtype=torch.bool, device=query.device).tril()
        attention_mask = attention_mask.expand(len(query), 1, -1, -1)
    return added.attend(layer, attend, (query, key, value), attention_mask), None


AttentionInterface.register(_ATTENTION, gated_attention)
AttentionMaskInterface.register(_ATTENTION, sdpa_mask)


class PromptedRun:
    """An encoder's `run` with learned tokens in the sequence, which the returned states lack.

    Args:
        run: of the encoder before.
        prompt: the learned tokens.
    """

    def __init__(self, run: Callable[[Any, dict[str, Tensor]], Hidden], prompt: Prompt) -> None:
        self.run = run
        self.prompt = prompt

    def whole(self, model: Any, inputs: dict[str, Tensor]) -> Hidden:
        """The states of all tokens, the learned ones too."""
        mask = inputs.get("attention_mask")
        if mask is not None:
            pad = (
                (len(self.prompt.tokens), 0) if self.prompt.first else (0, len(self.prompt.tokens))
            )
            inputs = inputs | {"attention_mask": F.pad(mask, pad, value=1)}
        return self.run(model, inputs)

    def __call__(self, model: Any, inputs: dict[str, Tensor]) -> Hidden:
        """The states of the encoder's own tokens."""
        hidden = self.whole(model, inputs)
        own = self.prompt.own(hidden.states[0].shape[1])
        mask = hidden.mask
        return Hidden([x[:, own] for x in hidden.states], None if mask is None else mask[:, own])


def _prompt(target: Target, settings: PromptSettings) -> None:
    _check_tokens(settings.tokens)
    encoder: Any = target.encoder
    prompt = Prompt(
        settings.tokens,
        width_of(target.blocks[0].module),
        len(target.blocks),
        first=encoder.modality == "text",
        gated=settings.gated,
    )
    place_like(prompt, target.model)
    _learn(target, prompt)
    target.model.get_submodule(target.paths.embeddings).register_forward_hook(prompt.insert)
    encoder.run = PromptedRun(encoder.run, prompt)


def _prefix(target: Target, settings: PrefixSettings) -> None:
    _check_tokens(settings.tokens)
    key: Any = target.blocks[0].key
    prefix = Prefix(
        settings.tokens,
        key.out_features,
        len(target.blocks),
        hidden=settings.hidden,
        gated=settings.gated,
    )
    _learn(target, place_like(prefix, target.model))


def _learn(target: Target, added: nn.Module) -> None:
    """Adds learned tokens to the encoder, and lets its attention read them."""
    model: Any = target.model
    owner = target.paths.query.rpartition(".")[0]
    every = [
        block
        for x in members(model, target.paths.layers)
        for block in members(x, target.paths.blocks)
    ]
    for layer, block in enumerate(every):
        used = min(
            layer, len(target.blocks) - 1
        )  # layers above the kept states share the last one's
        block.get_submodule(owner).learned_tokens = [added, used]  # type: ignore[assignment]
    model.set_attn_implementation(_ATTENTION)
    target.add(in_group(added, target.group("adapter")))


def _check_tokens(tokens: int) -> None:
    if tokens < 1:
        raise UserError(f"adapt prompt and prefix need at least 1 token; tokens is {tokens}")


PROMPT = AdaptationKind(
    settings=PromptSettings,
    apply=_prompt,
    groups=("adapter",),
    needs=("embeddings that take learned tokens",),
)
PREFIX = AdaptationKind(
    settings=PrefixSettings,
    apply=_prefix,
    groups=("adapter",),
    needs=("attention of transformers",),
)
