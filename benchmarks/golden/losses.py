"""Losses of golden files, over given states and item embeddings.

B sequences, L positions, E embedding, S slots: each of the B · (L + 1) items has an embedding of its own.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.golden.files import Golden, Ours
from benchmarks.golden.sequences import align_and_uniform, made_loss
from models.losses.loss import LossInputs
from models.losses.pairwise import BCE
from models.losses.softmax import softmax_loss


def run_bce(golden: Golden) -> Ours:
    """Binary cross-entropy with one negative per position, stored at the position's input."""
    states, items, negatives = _inputs(golden, ("states", "item_embeddings", "negative_embeddings"))
    length, width = states.shape[1:]
    slots = torch.arange(len(states) * (length + 1)).view(len(states), length + 1) + 1
    table = F.pad(torch.cat([items.reshape(-1, width), negatives.reshape(-1, width)]), (0, 0, 1, 0))
    rows = golden.inputs["log_mask"].flatten().nonzero().squeeze(1)
    batch = LossInputs(
        inputs=slots[:, :-1],
        rows=rows,
        targets=slots[:, 1:].flatten()[rows],
        weights=torch.full((len(rows),), 1 / len(rows)),
        bias=torch.zeros(0),
        log_counts=torch.zeros(0),
        negatives=(slots[:, :-1] + slots.numel()).flatten()[rows, None],
    )
    loss = made_loss(BCE, len(table) - 1, slots)(states.flatten(0, 1)[rows], table, batch)
    return _result(golden, {"loss": loss})


def run_in_batch(golden: Golden) -> Ours:
    """In-batch softmax with popularity correction, over slots instead of distinct items."""
    states, items = _inputs(golden, ("states", "item_embeddings"))
    ids, popularity = golden.inputs["item_ids"], golden.inputs["pop_prob"].clone()
    popularity[0] = 1.0
    width, slots = states.shape[2], ids.numel()
    rows = golden.inputs["log_mask"].flatten().nonzero().squeeze(1)
    own = (ids.view(1, -1, 1) == ids[:, None, :]).any(2) & (ids.flatten() != 0)  # (B, S)
    hidden = torch.where(own, torch.arange(slots) + 1, 0)
    flat = F.pad(ids.flatten(), (1, 0))
    loss = softmax_loss(
        states.flatten(0, 1)[rows],
        F.pad(items.reshape(-1, width), (0, 0, 1, 0)),
        (torch.arange(slots).view(ids.shape)[:, 1:] + 1).flatten()[rows],
        weights=torch.full((len(rows),), 1 / len(rows), dtype=torch.float32),  # as the loss is
        bias=-popularity[flat].log(),
        log_counts=(flat != 0).float().log(),
        hidden=hidden[rows // states.shape[1]],
    )
    return _result(golden, {"loss": loss, **align_and_uniform(states[:, -1], items[:, -1])})


def _inputs(golden: Golden, names: tuple[str, ...]) -> list[Tensor]:
    return [golden.inputs[name].requires_grad_(True) for name in names]


def _result(golden: Golden, outputs: dict[str, Tensor]) -> Ours:
    outputs["loss"].backward()
    gradients = {name: golden.inputs[name].grad for name in golden.gradients}
    return Ours({**outputs}, gradients)


RUNS: dict[str, Callable[[Golden], Ours]] = {
    "ninerec_bce_loss": run_bce,
    "morec_bce_loss": run_bce,
    "microlens_inbatch_loss": run_in_batch,
    "morec_inbatch_loss": run_in_batch,
}
