"""BERT, ViT and SASRec in plain functions over weights under the public codes' names, for golden files of any shape.

B items, S tokens. `inner` is the name that a public wrapper inserts before the original part.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

Shapes = dict[str, tuple[int, ...]]
Weights = dict[str, Tensor]
Change = Callable[
    [str, Tensor, Tensor], Tensor
]  # of a place: h, x -> what is added up and normalised


@dataclass(frozen=True)
class Sizes:
    """Shapes of a file: none of them is that of another."""

    items: int = 2
    tokens: int = 7
    width: int = 24
    inner: int = 40
    layers: int = 3
    heads: int = 4
    bottleneck: int = 8
    terms: int = 2
    rank: int = 5
    side: int = 6
    words: int = 19
    image: int = 12
    patch: int = 4
    seed: int = 0


def linear(name: str, out: int, width: int, *, bias: bool = True) -> Shapes:
    return {f"{name}.weight": (out, width)} | ({f"{name}.bias": (out,)} if bias else {})


def norm(name: str, width: int) -> Shapes:
    return {f"{name}.weight": (width,), f"{name}.bias": (width,)}


def bert_shapes(s: Sizes, at: str, inner: str) -> Shapes:
    tables = {"word": s.words, "position": s.tokens + 4, "token_type": 2}
    shapes: Shapes = {
        f"{at}embeddings.{name}_embeddings.weight": (rows, s.width) for name, rows in tables.items()
    }
    shapes |= norm(f"{at}embeddings.LayerNorm", s.width)
    for i in range(s.layers):
        layer = f"{at}encoder.layer.{i}."
        for part in ("query", "key", "value"):
            shapes |= linear(f"{layer}attention.self.{part}", s.width, s.width)
        shapes |= linear(f"{layer}intermediate.dense", s.inner, s.width)
        for place, wide in (("attention.output.", s.width), ("output.", s.inner)):
            shapes |= linear(f"{layer}{place}{inner}dense", s.width, wide)
            shapes |= norm(f"{layer}{place}{inner}LayerNorm", s.width)
    return shapes


def vit_shapes(s: Sizes, at: str, inner: str) -> Shapes:
    patches = (s.image // s.patch) ** 2
    shapes: Shapes = {
        f"{at}embeddings.cls_token": (1, 1, s.width),
        f"{at}embeddings.position_embeddings": (1, patches + 1, s.width),
        f"{at}embeddings.patch_embeddings.projection.weight": (s.width, 3, s.patch, s.patch),
        f"{at}embeddings.patch_embeddings.projection.bias": (s.width,),
    }
    for i in range(s.layers):
        layer = f"{at}encoder.layer.{i}."
        for part in ("query", "key", "value"):
            shapes |= linear(f"{layer}attention.attention.{part}", s.width, s.width)
        shapes |= linear(f"{layer}intermediate.dense", s.inner, s.width)
        for place, wide in (("attention.output.", s.width), ("output.", s.inner)):
            shapes |= linear(f"{layer}{place}{inner}dense", s.width, wide)
        shapes |= norm(f"{layer}layernorm_before", s.width)
        shapes |= norm(f"{layer}layernorm_after", s.width)
    return shapes | norm(f"{at}layernorm", s.width)


def user_shapes(s: Sizes, at: str, inner: str) -> Shapes:
    shapes: Shapes = {f"{at}position_embedding.weight": (s.tokens, s.width)}
    shapes |= norm(f"{at}layer_norm", s.width)
    for i in range(s.layers):
        shapes |= block_shapes(f"{at}transformer_blocks.{i}.{inner}", s.width)
    return shapes


def block_shapes(at: str, width: int) -> Shapes:
    shapes: Shapes = {}
    for part in ("w_Q", "w_K", "w_V", "fc"):
        shapes |= linear(f"{at}multi_head_attention.{part}", width, width, bias=False)
    shapes |= linear(f"{at}feed_forward.w_1", 4 * width, width)
    shapes |= linear(f"{at}feed_forward.w_2", width, 4 * width)
    for part in ("multi_head_attention", "feed_forward"):
        shapes |= norm(f"{at}{part}.layer_norm", width)
    return shapes


def random(shapes: Shapes, seed: int) -> Weights:
    """Float64 numbers that float32 can hold."""
    generator = torch.Generator().manual_seed(seed)
    weights = {
        name: torch.randn(shape, generator=generator) * (2.0 / max(shape[-1], 4)) ** 0.5
        for name, shape in shapes.items()
    }
    return {n: (x + is_gain(n)).double() for n, x in weights.items()}


def is_gain(name: str) -> bool:
    return name.endswith(".weight") and "norm" in name.lower().split(".")[-2]


def dense(w: Weights, name: str, z: Tensor) -> Tensor:
    """W z + b, and (1 / r) B A z where the file has these factors."""
    out = z @ w[f"{name}.weight"].T + w.get(f"{name}.bias", torch.zeros(()))
    if f"{name}.lora_A" in w:
        down, up = w[f"{name}.lora_A"], w[f"{name}.lora_B"]
        out = out + z @ down.T @ up.T / down.shape[0]
    return out


def normed(w: Weights, name: str, z: Tensor, eps: float) -> Tensor:
    return F.layer_norm(z, z.shape[-1:], w[f"{name}.weight"], w[f"{name}.bias"], eps)


def attention(query: Tensor, key: Tensor, value: Tensor, heads: int, visible: Tensor) -> Tensor:
    """Head by head; visible (B, S, S)."""
    outputs = []
    for q, k, v in zip(*(x.chunk(heads, -1) for x in (query, key, value)), strict=True):
        scores = q @ k.transpose(1, 2) / q.shape[-1] ** 0.5
        outputs.append(scores.masked_fill(~visible, -1e9).softmax(-1) @ v)
    return torch.cat(outputs, -1)


def add(place: str, h: Tensor, x: Tensor) -> Tensor:
    return h + x


def bert_states(
    w: Weights, at: str, ids: Tensor, mask: Tensor, *, heads: int, inner: str, change: Change = add
) -> list[Tensor]:
    tables = f"{at}embeddings."
    x = w[f"{tables}word_embeddings.weight"][ids]
    x = x + w[f"{tables}position_embeddings.weight"][: ids.shape[1]]
    x = normed(
        w, f"{tables}LayerNorm", x + w[f"{tables}token_type_embeddings.weight"][0], eps=1e-12
    )
    visible = (mask != 0)[:, None, :].expand(-1, ids.shape[1], -1)
    states = [x]
    while f"{at}encoder.layer.{len(states) - 1}.intermediate.dense.weight" in w:
        layer = f"{at}encoder.layer.{len(states) - 1}."
        qkv = (dense(w, f"{layer}attention.self.{n}", x) for n in ("query", "key", "value"))
        for place in ("attention.output.", "output."):
            if place == "output.":
                z = F.gelu(dense(w, f"{layer}intermediate.dense", x))
            else:
                z = attention(*qkv, heads, visible)
            h = dense(w, f"{layer}{place}{inner}dense", z)
            z = change(f"{layer}{place}adapter.", h, x)
            x = normed(w, f"{layer}{place}{inner}LayerNorm", z, eps=1e-12)
        states.append(x)
    return states


def vit_states(
    w: Weights, at: str, images: Tensor, *, heads: int, inner: str, change: Change = add
) -> list[Tensor]:
    """Before the final norm."""
    kernel = w[f"{at}embeddings.patch_embeddings.projection.weight"]
    patches = F.unfold(images, kernel.shape[2:], stride=kernel.shape[2:]).transpose(1, 2)
    x = (
        patches @ kernel.flatten(1).T + w[f"{at}embeddings.patch_embeddings.projection.bias"]
    )  # row by row
    x = torch.cat([w[f"{at}embeddings.cls_token"].expand(len(x), -1, -1), x], dim=1)
    x = x + w[f"{at}embeddings.position_embeddings"]
    visible = torch.ones(len(x), x.shape[1], x.shape[1]).bool()
    states = [x]
    while f"{at}encoder.layer.{len(states) - 1}.intermediate.dense.weight" in w:
        layer = f"{at}encoder.layer.{len(states) - 1}."
        z = normed(w, f"{layer}layernorm_before", x, eps=1e-12)
        qkv = (dense(w, f"{layer}attention.attention.{n}", z) for n in ("query", "key", "value"))
        place = f"{layer}attention.output."
        h = dense(w, f"{place}{inner}dense", attention(*qkv, heads, visible))
        x = change(f"{place}adapter.", h, x)
        z = normed(w, f"{layer}layernorm_after", x, eps=1e-12)
        place = f"{layer}output."
        h = dense(w, f"{place}{inner}dense", F.gelu(dense(w, f"{layer}intermediate.dense", z)))
        x = change(f"{place}adapter.", h, x)
        states.append(x)
    return states


def user_states(
    w: Weights,
    at: str,
    items: Tensor,
    mask: Tensor,
    *,
    heads: int,
    inner: str,
    change: Change = add,
) -> list[Tensor]:
    x = normed(w, f"{at}layer_norm", items + w[f"{at}position_embedding.weight"], eps=1e-6)
    visible = causal(mask)
    states = [x]
    while f"{at}transformer_blocks.{len(states) - 1}.{inner}feed_forward.w_1.weight" in w:
        block = f"{at}transformer_blocks.{len(states) - 1}."
        states.append(sasrec_block(w, block, inner, states[-1], heads, visible, change))
    return states


def causal(mask: Tensor) -> Tensor:
    length = mask.shape[1]
    return torch.ones(length, length).bool().tril() & (mask != 0)[:, None, :]


def sasrec_block(
    w: Weights, at: str, inner: str, x: Tensor, heads: int, visible: Tensor, change: Change = add
) -> Tensor:
    part = f"{at}{inner}multi_head_attention."
    query, key, value = (dense(w, f"{part}{name}", x) for name in ("w_Q", "w_K", "w_V"))
    h = dense(w, f"{part}fc", attention(query, key, value, heads, visible))
    x = normed(w, f"{part}layer_norm", change(f"{at}adapter1.", h, x), eps=1e-6)
    part = f"{at}{inner}feed_forward."
    h = dense(w, f"{part}w_2", F.relu(dense(w, f"{part}w_1", x)))
    return normed(w, f"{part}layer_norm", change(f"{at}adapter2.", h, x), eps=1e-6)
