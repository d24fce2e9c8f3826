"""Sequence encoders of golden files, alone and in one training step over a table of item vectors.

B sequences, L positions, E embedding, N items, R predicted positions.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from types import SimpleNamespace
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.golden.files import Golden, Ours
from benchmarks.golden.names import USER, Rename, our_names
from benchmarks.golden.towers import count, load
from models.losses.loss import LossInputs
from models.losses.objectives import MASK
from models.losses.pairwise import BCE, BPR
from models.losses.softmax import in_batch_loss
from models.sequence import BERT4Rec, GRU4Rec, NextItNet, SASRec

Weights = dict[str, Tensor]
TABLES = ("id_encoder", "id_embedding", "item_embedding", "visual_encoder")
_GRU: tuple[Rename, ...] = ((r"^gru_layers\.", "gru."), (r"^dense\.", "output."))
_NEXTITNET: tuple[Rename, ...] = (
    (r"^residual_blocks\.(\d+)\.conv1\.", r"blocks.\1.first.convolution."),
    (r"^residual_blocks\.(\d+)\.conv2\.", r"blocks.\1.second.convolution."),
    (r"^residual_blocks\.(\d+)\.ln1\.", r"blocks.\1.first.norm."),
    (r"^residual_blocks\.(\d+)\.ln2\.", r"blocks.\1.second.norm."),
    (r"^final_layer\.", "unused.final_layer."),
)
_RECBOLE: tuple[Rename, ...] = (
    (r"^trm_encoder\.layer\.", "blocks."),
    (r"multi_head_attention\.dense\.", "attention.output."),
    (r"multi_head_attention\.LayerNorm\.", "attention.norm."),
    (r"multi_head_attention\.", "attention."),
    (r"feed_forward\.dense_1\.", "feed_forward.expand."),
    (r"feed_forward\.dense_2\.", "feed_forward.contract."),
    (r"feed_forward\.LayerNorm\.", "feed_forward.norm."),
    (r"^LayerNorm\.", "norm."),
)
NAMES: tuple[Rename, ...] = (
    (r"^user_encoder\.", ""),
    *_GRU,
    *_NEXTITNET,
    *USER,
    *_RECBOLE,
)


@dataclass(frozen=True)
class Step:
    """How a file's training step computes its loss.

    Args:
        loss: class of the loss; None for the in-batch softmax.
        rows: predicted positions: all, the last one of each sequence, or those behind mask tokens.
        negatives: whether the negative of a position is stored at its input or at its target, one position later.
        mean_over: whether the sum over positions is divided by their number or by the number of users.
        trains_padding: whether the vector at padding is trained.
    """

    loss: type[BCE] | type[BPR] | None = BCE
    rows: Literal["all", "last", "masked"] = "all"
    negatives: Literal["input", "target"] = "input"
    mean_over: Literal["rows", "users"] = "rows"
    trains_padding: bool = False


def make_encoder(golden: Golden, weights: Weights) -> nn.Module:
    """The sequence encoder of a file, with its weights under our names."""
    encoder = _built(golden, weights).eval()
    for module in encoder.modules():
        if isinstance(module, nn.LayerNorm) and isinstance(encoder, BERT4Rec):
            module.eps = 1e-12 if "variant" in golden.name else 1e-6
    load(encoder, weights)
    return encoder


def _built(golden: Golden, weights: Weights) -> nn.Module:
    if "gru.weight_ih_l0" in weights:
        width = weights["gru.weight_ih_l0"].shape[1]
        return GRU4Rec(
            embedding_dim=width,
            layers=sum(name.startswith("gru.weight_ih") for name in weights),
            hidden=weights["gru.weight_hh_l0"].shape[1],
            output_layer="output.weight" in weights,
            read_padding=True,
        )
    if "blocks.0.first.norm.weight" in weights:
        residual = count(weights, "blocks.")
        width, _, kernel = weights["blocks.0.first.convolution.weight"].squeeze(2).shape
        dilations = golden.meta.get("dilations")
        dilations = dilations if isinstance(dilations, list) else [1, 4]
        dilations = dilations * (residual // len(dilations))
        return NextItNet(
            embedding_dim=width, blocks=1, dilations=dilations, kernel=kernel, read_padding=True
        )
    length, width = weights["positions.weight"].shape
    sizes = {"embedding_dim": width, "heads": golden.meta["heads"], "skip_padding": False}
    blocks = count(weights, "blocks.")
    if "bert4rec" not in golden.name:
        return SASRec(max_len=length, blocks=blocks, **sizes)
    biases = "blocks.0.attention.query.bias" in weights
    return BERT4Rec(
        max_len=length - 1,
        blocks=blocks,
        inner=weights["blocks.0.feed_forward.expand.weight"].shape[0] // width,
        activation="gelu" if biases else "relu",
        biases=biases,
        **sizes,
    )


def run_encoder(golden: Golden) -> Ours:
    """An encoder over given item embeddings. The objective is the sum of squares of the states at real positions."""
    names = our_names(golden.weights, NAMES)
    encoder = make_encoder(golden, {names[name]: x for name, x in golden.weights.items()})
    items = golden.inputs["item_embeddings"].clone().requires_grad_(True)
    real = golden.inputs["log_mask"] != 0
    states = _states(encoder, items, real, torch.zeros_like(real))
    objective = (states * real[..., None]).square().sum()
    objective.backward()
    mine = dict(encoder.named_parameters())
    gradients = _gradients(golden, {name: mine.get(ours) for name, ours in names.items()})
    gradients |= dict.fromkeys(("item_embeddings", "input.item_embeddings"), items.grad)
    outputs = {"objective": objective, "loss": objective}
    for name in ("states", "user_states"):  # compared at real positions only
        if name in golden.outputs:
            outputs[name] = torch.where(real[..., None], states, golden.outputs[name])
    return Ours(outputs, gradients)


def _states(encoder: nn.Module, items: Tensor, real: Tensor, masked: Tensor) -> Tensor:
    return encoder(items, real, masked) if isinstance(encoder, BERT4Rec) else encoder(items, real)


def _gradients(golden: Golden, mine: dict[str, nn.Parameter | None]) -> dict[str, Tensor | None]:
    found: dict[str, Tensor | None] = {}
    for name, theirs in golden.gradients.items():
        parameter = mine.get(name)
        if parameter is not None and parameter.grad is not None:
            found[name] = parameter.grad.reshape(theirs.shape)
    return found


def run_step(golden: Golden, step: Step) -> Ours:
    """A training step over a table of item vectors, and the scores of all items after each history."""
    table_name = next(name for name in golden.weights if name.split(".")[0] in TABLES)
    names = our_names({k: x for k, x in golden.weights.items() if k != table_name}, NAMES)
    weights = {ours: golden.weights[name] for name, ours in names.items()}
    table = golden.weights[table_name].clone()
    if step.rows == "masked":
        table, weights["mask.weight"] = table[:-1], table[-1:]
    table.requires_grad_(True)
    encoder = make_encoder(golden, weights)
    outputs = _outputs(golden, step, encoder, table)
    outputs["loss"].backward()
    mine = dict(encoder.named_parameters())
    gradients = _gradients(golden, {name: mine.get(ours) for name, ours in names.items()})
    gradients[table_name] = table.grad
    if step.rows == "masked":
        gradients[table_name] = torch.cat([table.grad, mine["mask.weight"].grad])
    return Ours(outputs, gradients)


def _outputs(golden: Golden, step: Step, encoder: nn.Module, table: Tensor) -> dict[str, Tensor]:
    def states_of(ids: Tensor) -> Tensor:
        vectors = F.embedding(
            ids.clamp(min=0), table, padding_idx=None if step.trains_padding else 0
        )
        return _states(encoder, vectors, ids != 0, ids == MASK)

    if step.rows == "masked":
        inputs, history = _with_mask(golden, golden.inputs["masked_ids"]), _history(golden)
    else:
        inputs = history = golden.inputs["item_ids"][:, :-1]
    states = states_of(inputs)
    with torch.no_grad():
        vectors = table
        if isinstance(
            encoder, BERT4Rec
        ):  # some files score the mask, which is no candidate with us
            vectors = torch.cat([table, encoder.mask.weight])[: golden.outputs["scores"].shape[1]]
        scores = states_of(history)[:, -1] @ vectors.T
    if step.loss is None:
        ids, popularity = golden.inputs["item_ids"], golden.inputs["pop_prob"].clone()
        popularity[0] = 1.0  # of padding, which is no column
        outputs = {"loss": in_batch_loss(states, table, ids, popularity.log())}
        logged = align_and_uniform(states[:, -1], table[ids[:, -1]])
        return {**outputs, "scores": scores, **logged}
    batch = _batch(golden, step, inputs)
    loss = made_loss(step.loss, len(table) - 1, inputs)
    return {
        "loss": loss(states.flatten(0, 1)[batch.rows], table, batch),
        "scores": scores,
    }


def _with_mask(golden: Golden, ids: Tensor) -> Tensor:
    """Ids with `MASK` in place of the file's mask id, N + 1."""
    return torch.where(ids == golden.meta["items"] + 1, MASK, ids)


def _history(golden: Golden) -> Tensor:
    """The histories, each followed by a mask token."""
    ids = golden.inputs["eval_ids"]
    if ids.shape[1] < golden.inputs["masked_ids"].shape[1]:
        return F.pad(ids, (0, 1), value=MASK)
    return _with_mask(golden, ids)


def _batch(golden: Golden, step: Step, inputs: Tensor) -> LossInputs:
    negatives = golden.inputs["negative_ids"]
    if step.rows == "masked":
        targets = golden.inputs.get("positive_ids", golden.inputs.get("sequence_ids"))
        predicted = golden.inputs["mask_index"] != 0
    else:
        targets = golden.inputs["item_ids"][:, 1:]
        negatives = negatives[:, :-1] if step.negatives == "input" else negatives[:, 1:]
        predicted = inputs != 0
        if step.rows == "last":
            predicted = predicted & (torch.arange(inputs.shape[1]) == inputs.shape[1] - 1)
    rows = predicted.flatten().nonzero().squeeze(1)
    parts = len(rows) if step.mean_over == "rows" else len(inputs)
    return LossInputs(
        inputs=inputs,
        rows=rows,
        targets=targets.flatten()[rows],
        weights=torch.full((len(rows),), 1 / parts),
        bias=torch.zeros(0),
        log_counts=torch.zeros(0),
        negatives=negatives.flatten()[rows, None],
    )


def made_loss(
    kind: type[BCE] | type[BPR], items: int, sequences: Tensor
) -> Callable[[Tensor, Tensor, LossInputs], Tensor]:
    """A loss with one negative per row, over a catalogue of `items` items."""
    splits = SimpleNamespace(
        catalogue=torch.arange(1, items + 1).numpy(),
        train_counts=torch.zeros(items + 1).long().numpy(),
        train=sequences[:0].numpy(),
    )
    return kind(splits, count=1, by="uniform")  # type: ignore[arg-type]


def align_and_uniform(states: Tensor, items: Tensor) -> dict[str, Tensor]:
    """Alignment and uniformity of states and next items, (B, E) each, on the unit sphere (arXiv 2005.10242).

    MicroLens logs them: E|u - v|², and the mean over users and items of log E exp(-2 |x - y|²).
    """
    users, items = F.normalize(states.detach(), dim=-1), F.normalize(items.detach(), dim=-1)
    uniform = [torch.pdist(x).square().mul(-2).exp().mean().log() for x in (users, items)]
    return {
        "align": (users - items).square().sum(1).mean(),
        "uniform": (uniform[0] + uniform[1]) / 2,
    }


_ENCODERS = ("sasrec", "gru4rec", "nextitnet")
RUNS: dict[str, Callable[[Golden], Ours]] = {
    **{
        f"{code}_{name}": run_encoder
        for code in ("microlens", "ninerec", "mmsr")
        for name in _ENCODERS
    },
    "ninerec_bert4rec": run_encoder,
    **{f"microlens_id_{name}": partial(run_step, step=Step(loss=None)) for name in _ENCODERS},
    **{f"ninerec_id_{name}": partial(run_step, step=Step()) for name in _ENCODERS},
    "morec_id_sasrec": partial(run_step, step=Step()),
    "morec_inbatch_id_sasrec": partial(run_step, step=Step(loss=None)),
    "ninerec_cpc": partial(run_step, step=Step(rows="last")),
    "ninerec_id_bert4rec": partial(run_step, step=Step(rows="masked")),
    "ninerec_variant_bert4rec": partial(
        run_step, step=Step(loss=BPR, rows="masked", mean_over="users")
    ),
    "ninerec_variant_gru4rec": partial(
        run_step, step=Step(loss=BPR, negatives="target", mean_over="users")
    ),
    "ninerec_modality_gru4rec": partial(
        run_step, step=Step(negatives="target", trains_padding=True)
    ),
}
