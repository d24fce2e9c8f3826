"""Weights under the public IISAN code's names, and that network written slowly from its equations.

Which tensors there are follows the constructors of GAIR-Lab/IISAN (`Code_Cached_Asym`, `Code_Cached`,
`Code_Uncached`); the equations are those of arXiv 2404.02059 and 2411.02992.
"""

import torch
from torch import Tensor

E, LENGTH = 16, 10
Weights = dict[str, Tensor]
Shapes = dict[str, tuple[int, ...]]
Shape = tuple[int, int]  # blocks, width
BOTTLENECK = {"text": 5, "image": 7}
SHORT = {"text": "bert", "image": "cv"}
GATES = {"text": "text", "image": "cv"}


def public_weights(
    text: Shape,
    image: Shape,
    *,
    wide_heads: bool = False,
    intra: bool = True,
    inter: bool = True,
    gated: bool = True,
    seed: int = 0,
) -> Weights:
    """Random weights of the variant; equal widths make as many inter blocks as the text has."""
    towers = {"text": text, "image": image}
    shapes: Shapes = {}
    for kind in towers if intra else ():
        add_intra(shapes, kind, towers[kind], wide_heads=wide_heads, gated=gated)
    if inter:
        add_inter(shapes, towers, gated=gated)
    add_linear(shapes, "com_dense", E, E * (2 * intra + inter))
    add_user_encoder(shapes)
    generator = torch.Generator().manual_seed(seed)
    return {n: 0.3 * torch.randn(shape, generator=generator) for n, shape in shapes.items()}


def add_linear(shapes: Shapes, name: str, out: int, width: int) -> None:
    shapes |= {f"{name}.weight": (out, width), f"{name}.bias": (out,)}


def add_blocks(shapes: Shapes, short: str, count: int, width: int, bottleneck: int) -> None:
    for i in range(count):
        add_linear(shapes, f"mm_encoder.{short}_adapter_list.{i}.fc_down", bottleneck, width)
        add_linear(shapes, f"mm_encoder.{short}_adapter_list.{i}.fc_up", width, bottleneck)


def add_gates(shapes: Shapes, short: str, count: int) -> None:
    shapes |= {f"mm_encoder.side_gate_params_{short}.{i}": (1,) for i in range(count)}


def add_intra(shapes: Shapes, kind: str, shape: Shape, *, wide_heads: bool, gated: bool) -> None:
    (count, width), short = shape, SHORT[kind]
    between = width if wide_heads else E
    add_blocks(shapes, short, count, width, BOTTLENECK[kind])
    add_gates(shapes, GATES[kind], count if gated else 0)
    add_linear(shapes, f"mm_encoder.fc_{short}", between, width)
    add_linear(shapes, f"mm_encoder.{short}_pre_fc", E, between)


def add_inter(shapes: Shapes, towers: dict[str, Shape], *, gated: bool) -> None:
    (text_blocks, text), (image_blocks, image) = towers["text"], towers["image"]
    narrow = "image" if text > image else "text"
    count, width = towers[narrow]  # may be more blocks than are used
    add_blocks(shapes, "mm", count, width, BOTTLENECK[narrow])
    add_gates(shapes, "mm", min(text_blocks, image_blocks) if gated else 0)
    for i in range(count if text != image else 0):
        add_linear(shapes, f"mm_encoder.down_project_list.{i}", width, max(text, image))
    add_linear(shapes, "mm_encoder.fc_mm", width, width)
    add_linear(shapes, "mm_encoder.fc_mm_down", E, width)


def add_user_encoder(shapes: Shapes) -> None:
    here = "user_encoder.transformer_encoder."
    shapes[here + "position_embedding.weight"] = (LENGTH, E)
    norms = ["layer_norm"]
    for block in ("transformer_blocks.0.", "transformer_blocks.1."):
        for name in ("w_Q", "w_K", "w_V", "fc"):
            shapes[f"{here}{block}multi_head_attention.{name}.weight"] = (E, E)
        for name, out, width in (("w_1", 4 * E, E), ("w_2", E, 4 * E)):
            shapes[f"{here}{block}feed_forward.{name}.weight"] = (out, width)
            shapes[f"{here}{block}feed_forward.{name}.bias"] = (out,)
        norms += [block + "multi_head_attention.layer_norm", block + "feed_forward.layer_norm"]
    for norm in norms:
        shapes |= {f"{here}{norm}.weight": (E,), f"{here}{norm}.bias": (E,)}


def slow_items(weights: Weights, states: dict[str, Tensor]) -> Tensor:
    """Item embeddings (U, E) from kept states (U, K, D): block by block, as the papers write them."""

    def linear(name: str, x: Tensor) -> Tensor:
        return x @ weights[f"{name}.weight"].T + weights[f"{name}.bias"]

    def block(name: str, x: Tensor) -> Tensor:
        return x + linear(f"{name}.fc_up", linear(f"{name}.fc_down", x).clamp(min=0))

    def gate(name: str) -> Tensor | None:
        logit = weights.get(f"mm_encoder.side_gate_params_{name}")
        return None if logit is None else 1 / (1 + torch.exp(-logit / 0.1))

    towers = {}
    for kind, short in SHORT.items():
        if f"mm_encoder.fc_{short}.weight" not in weights:
            continue
        side = torch.zeros_like(states[kind][:, 0])
        for i in range(states[kind].shape[1]):
            h, g = states[kind][:, i], gate(f"{GATES[kind]}.{i}")
            f = h + side if g is None else g * h + (1 - g) * side
            side = block(f"mm_encoder.{short}_adapter_list.{i}", f)
        head = linear(f"mm_encoder.fc_{short}", side)
        towers[kind] = linear(f"mm_encoder.{short}_pre_fc", head)
    if "mm_encoder.fc_mm.weight" in weights:
        towers["inter"] = slow_inter(weights, states, linear, block, gate)
    parts = [towers[part] for part in ("image", "text", "inter") if part in towers]
    return linear("com_dense", torch.cat(parts, 1))


def slow_inter(weights, states, linear, block, gate) -> Tensor:  # type: ignore[no-untyped-def]
    levels = min(h.shape[1] for h in states.values())
    width = min(h.shape[2] for h in states.values())
    side = torch.zeros(len(states["text"]), width)
    for i in range(levels):
        h = {kind: states[kind][:, states[kind].shape[1] - levels + i] for kind in states}
        for kind in h:
            if h[kind].shape[1] > width:
                h[kind] = linear(f"mm_encoder.down_project_list.{i}", h[kind])
        g = gate(f"mm.{i}")
        mixed = h["image"] + h["text"] if g is None else g * h["image"] + (1 - g) * h["text"]
        side = block(f"mm_encoder.mm_adapter_list.{i}", side + mixed)
    return linear("mm_encoder.fc_mm_down", linear("mm_encoder.fc_mm", side))


def as_uncached(weights: Weights) -> Weights:
    """The same under the names of `Code_Uncached`, as DistributedDataParallel saves them, with the encoders' own."""
    second = {
        "mm_encoder.cv_pre_fc": "mm_encoder.cv_encoder.image_net.classifier",
        "mm_encoder.bert_pre_fc": "mm_encoder.bert_encoder.text_encoders.title.fc",
    }
    renamed = {}
    for name, tensor in weights.items():
        stem, _, kind = name.rpartition(".")
        renamed[f"module.{second.get(stem, stem)}.{kind}"] = tensor
    frozen = "bert_encoder.text_encoders.title.bert_model.embeddings.word_embeddings.weight"
    vit = "cv_encoder.image_net.vit.encoder.layer.0.output.dense.weight"
    return renamed | {f"module.mm_encoder.{name}": torch.zeros(3, 3) for name in (frozen, vit)}
