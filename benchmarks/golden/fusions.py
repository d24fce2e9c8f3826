"""Fusions and item heads of MMSR, NineRec and MicroLens, and MMSR's whole model over given token states.

U items, S tokens, D width, E embedding, B sequences, L inputs.
"""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.golden.files import Golden, Ours
from benchmarks.golden.names import Rename, our_names
from benchmarks.golden.sequences import NAMES, made_loss, make_encoder
from benchmarks.golden.towers import count, load
from models.fusion import FUSIONS, CoAttention, Concat, FiLM, Gated, MergeAttention, Sum
from models.fusion.kind import joins_of
from models.items.heads import Head, HeadActivation
from models.losses.loss import LossInputs
from models.losses.pairwise import BCE
from toolkit.backbones.pooling import POOLINGS
from toolkit.backbones.token_states import TokenStates

Weights = dict[str, Tensor]
_AROUND: tuple[Rename, ...] = ((r"^layer_norm\.", "norm."), (r"^dnn\.MLPlayer\.", "mlp."))
_SUM: tuple[Rename, ...] = (*_AROUND, (r"^fc_x\.", "maps.0."), (r"^fc_y\.", "maps.1."))
_CONCAT: tuple[Rename, ...] = (*_AROUND, (r"^fc_(out|1)\.", ""), (r"^fc_2\.", "mlp.1."))
_FILM: tuple[Rename, ...] = (*_AROUND, (r"^fc\.", "scale_and_shift."), (r"^fc_out\.", "output."))
_GATED: tuple[Rename, ...] = (
    *_AROUND,
    (r"^fc_x\.", "gate."),
    (r"^fc_y\.", "value."),
    (r"^fc_out\.", "output."),
)
_ATTENTION: tuple[Rename, ...] = (
    (r"^(CoAtt|MergeAtt)_layers\.", "layers."),
    (r"\.visual_attention\.", ".cross."),
    (r"\.lang_self_att\.", ".own.0."),
    (r"\.visn_self_att\.", ".own.1."),
    (r"\.lang_(?=inter|output)", ".feed_forward.0."),
    (r"\.visn_(?=inter|output)", ".feed_forward.1."),
    (r"^layers\.(\d+)\.self_att\.", r"attention.\1."),
    (r"^layers\.(\d+)\.(?=inter\.|output\.)", r"feed_forward.\1."),
    (r"\.(att|self)\.(?=query|key|value)", "."),
    (r"(feed_forward\.\d+)\.inter\.dense\.", r"\1.expand."),
    (r"(feed_forward\.\d+)\.output\.dense\.", r"\1.contract."),
    (r"\.output\.dense\.", ".output."),
    (r"\.output\.LayerNorm\.", ".norm."),
    (r"^fc_out\.", "output."),
)
_PARTS = ("text", "image", "video")
_NAMES: dict[str, tuple[Rename, ...]] = {  # by the words for a fusion in a file's name
    "co_att": _ATTENTION,
    "merge_attn": _ATTENTION,
    "concat": _CONCAT,
    "film": _FILM,
    "gated": _GATED,
    "sum": _SUM,
}


class Made(NamedTuple):
    """A fusion with a file's weights, and our name of each of them."""

    fusion: nn.Module
    names: dict[str, str]


def make_fusion(golden: Golden, public: Mapping[str, Tensor]) -> Made:
    """The fusion of a file.

    Args:
        golden: the file.
        public: the fusion's weights by public name, without a prefix.
    """
    words = golden.meta.get("fusion", golden.name)
    kind = next(word for word in _NAMES if word in words)
    types = bool(golden.meta.get("token_type_used", kind == "co_att"))
    renames = list(_NAMES[kind])
    if not golden.meta.get("x_gate", True):  # the image gates the text
        renames[:0] = [(r"^fc_x\.", "value."), (r"^fc_y\.", "gate.")]
    # Of merge attention the public table is never read.
    renames[:0] = [(r"^token_type_embeddings\.", "types.vectors." if types else "unused.")]
    names = our_names(public, renames)
    weights = {ours: public[name] for name, ours in names.items()}
    fusion = _BUILDERS[kind](golden, weights).eval()
    load(fusion, weights)
    return Made(fusion, names)


def _vectors(
    golden: Golden, weights: Weights, *, make: type[nn.Module], width: str, **settings: Any
) -> nn.Module:
    """A fusion of vectors, whose width is the first dimension of a weight."""
    public = golden.weights
    return make(
        _parts(golden),
        embedding_dim=weights[width].shape[0],
        norm="norm.weight" in weights,
        mlp=count(weights, "mlp."),
        mlp_activation="none" if "fc_2.weight" in public else "relu",
        **settings,
    )


def _conditioned(golden: Golden, weights: Weights, *, make: type[nn.Module]) -> nn.Module:
    by_text = golden.meta.get("x_film", True) and golden.meta.get("x_gate", True)
    condition = "text" if by_text else "image"
    return _vectors(golden, weights, make=make, width="output.weight", condition=condition)


def _attention(golden: Golden, weights: Weights, *, make: type[nn.Module]) -> nn.Module:
    expand = next(x for name, x in weights.items() if name.endswith("expand.weight"))
    first = "layers." if make is CoAttention else "attention."
    return make(
        _parts(golden),
        embedding_dim=expand.shape[1],
        layers=count(weights, first),
        heads=golden.meta.get("attention_heads_fusion", golden.meta.get("heads")),
        inner_width=expand.shape[0],
        token_types="types.vectors.weight" in weights,
    )


_BUILDERS: dict[str, Callable[[Golden, Weights], nn.Module]] = {
    "sum": partial(_vectors, make=Sum, width="maps.0.weight", maps=True),
    "concat": partial(_vectors, make=Concat, width="weight"),
    "film": partial(_conditioned, make=FiLM),
    "gated": partial(_conditioned, make=Gated),
    "co_att": partial(_attention, make=CoAttention),
    "merge_attn": partial(_attention, make=MergeAttention),
}


def _parts(golden: Golden) -> list[str]:
    return [name for name in _PARTS if {name, f"{name}_tokens"} & set(golden.inputs)]


def run_fusion(golden: Golden) -> Ours:
    """A fusion of given vectors, or of given tokens. The loss is the sum of squares."""
    made = make_fusion(golden, golden.weights)
    given = {
        name: x.clone().requires_grad_(True)
        for name, x in golden.inputs.items()
        if x.is_floating_point()
    }
    if joins_of(made.fusion, FUSIONS) == "tokens":
        parts = _tokens(golden, {name: given[f"{name}_tokens"] for name in _parts(golden)})
        fused = made.fusion(parts)
    else:
        fused = made.fusion(given)
    loss = fused.square().sum()
    loss.backward()
    gradients = _gradients(golden, made.fusion, made.names)
    gradients |= {f"{before}{name}": x.grad for name, x in given.items() for before in _BEFORE}
    return Ours({"item": fused, "fused": fused, "loss": loss, "objective": loss}, gradients)


_BEFORE = ("", "input.")  # in the names of gradients of inputs


def _tokens(golden: Golden, states: Mapping[str, Tensor]) -> dict[str, TokenStates]:
    """States of tokens by part; without a mask, all are real."""
    return {name: TokenStates(x, _real(golden, name, x)) for name, x in states.items()}


def _real(golden: Golden, part: str, states: Tensor) -> Tensor:
    mask = golden.inputs.get(f"{part}_mask")
    return torch.ones(states.shape[:2], dtype=torch.bool) if mask is None else mask != 0


def _gradients(
    golden: Golden, module: nn.Module, names: Mapping[str, str], before: str = ""
) -> dict[str, Tensor | None]:
    """By public name, the gradients of our weights that the file has gradients of."""
    mine = dict(module.named_parameters())
    found: dict[str, Tensor | None] = {}
    for name, ours in names.items():
        theirs = golden.gradients.get(before + name)
        if theirs is not None and ours in mine:
            found[before + name] = mine[ours].grad.reshape(theirs.shape)  # type: ignore[union-attr]
    return found


def run_model(golden: Golden) -> Ours:
    """MMSR's model from token states on: heads, fusion, sequence encoder, and BCE with one negative per position."""
    heads = {"text": _head(golden, "text_encoder."), "image": _head(golden, "cv_encoder.")}
    inside = _inside(golden, "fusion_module.")
    made = make_fusion(golden, inside)
    users = _inside(golden, "user_encoder.")
    user_names = our_names(users, NAMES)
    encoder = make_encoder(golden, {user_names[name]: x for name, x in users.items()})

    given = {name: golden.inputs[f"{name}_tokens"].clone().requires_grad_(True) for name in heads}
    if joins_of(made.fusion, FUSIONS) == "tokens":
        items = made.fusion(_tokens(golden, {n: head.ours(given[n]) for n, head in heads.items()}))
    else:
        # Pooled first, as item `encoders` does it: a linear map of a mean is the mean of the linear map.
        pooled = {n: _mean(x, _real(golden, n, x)) for n, x in given.items()}
        items = made.fusion({n: head.ours(pooled[n]) for n, head in heads.items()})
    real = golden.inputs["log_mask"] != 0
    of_slots = items.view(len(real), real.shape[1] + 1, 2, -1)
    states = encoder(of_slots[:, :-1, 0], real) * real[..., None]
    loss = _bce(states, items, real)
    loss.backward()

    gradients = {f"{name}_tokens": x.grad for name, x in given.items()}
    for head in heads.values():
        gradients |= _gradients(golden, head.ours, head.names)
    gradients |= _gradients(golden, made.fusion, made.names, "fusion_module.")
    gradients |= _gradients(golden, encoder, user_names, "user_encoder.")
    return Ours({"item": items, "user_states": states, "loss": loss}, gradients)


class _Head(NamedTuple):
    ours: Head
    names: dict[str, str]


def _inside(golden: Golden, before: str) -> Weights:
    """The weights of a part of a model, without its name."""
    return {n.removeprefix(before): x for n, x in golden.weights.items() if n.startswith(before)}


def _head(golden: Golden, before: str, activation: HeadActivation = "none") -> _Head:
    """A linear head, and our names of its weights."""
    names = {
        name: f"first.{name.rpartition('.')[2]}"
        for name in golden.weights
        if name.startswith(before)
    }
    weights = {ours: golden.weights[name] for name, ours in names.items()}
    width, embedding_dim = reversed(weights["first.weight"].shape)
    head = Head(width, embedding_dim, layers=0, dropout=0.0, activation=activation)
    load(head, weights)
    return _Head(head, names)


def _mean(states: Tensor, real: Tensor) -> Tensor:
    return POOLINGS["mean"](states, real).to(states.dtype)


def _bce(states: Tensor, items: Tensor, real: Tensor) -> Tensor:
    """Rows of `items` are (B, L + 1, [item, negative]), flattened; the negative of a position is that of its input."""
    table = F.pad(items, (0, 0, 1, 0))
    slots = torch.arange(0, len(items), 2).view(len(real), -1) + 1
    rows = real.flatten().nonzero().squeeze(1)
    batch = LossInputs(
        inputs=slots[:, :-1],
        rows=rows,
        targets=slots[:, 1:].flatten()[rows],
        weights=torch.full((len(rows),), 1 / len(rows)),
        bias=torch.zeros(0),
        log_counts=torch.zeros(0),
        negatives=(slots[:, :-1] + 1).flatten()[rows, None],
    )
    return made_loss(BCE, len(items), slots)(states.flatten(0, 1)[rows], table, batch)


def run_heads(golden: Golden) -> Ours:
    """MicroLens' item heads over given outputs of backbones. The loss is the sum of squares of each output."""
    tokens = golden.inputs["token_states"]
    every = torch.ones(tokens.shape[:2], dtype=torch.bool)
    first = POOLINGS["cls"](tokens, every)
    scores = golden.inputs["class_scores"]
    reads: dict[str, tuple[Tensor, HeadActivation]] = {
        "text": (first, "none"),
        "image_mae": (first, "none"),
        "video_mae": (_mean(tokens, every), "gelu"),
        "video_400": (scores, "gelu"),
        "video_mvit16_frames": (golden.inputs["frame_class_scores"].mean(dim=1), "gelu"),
    }
    outputs, gradients = {}, {}
    for name, (states, activation) in reads.items():
        head = _head(golden, f"{name}.", activation)
        outputs[name] = head.ours(states)
        outputs[name].square().sum().backward()
        gradients |= _gradients(golden, head.ours, head.names)
    return Ours(outputs, gradients)


RUNS: dict[str, Callable[[Golden], Ours]] = {
    **{f"mmsr_{word}": run_fusion for word in _NAMES},
    "mmsr_model_": run_model,
    "ninerec_fusion_": run_fusion,
    "microlens_fusion_concat": run_fusion,
    "microlens_item_heads": run_heads,
}
