"""Graph recommenders of golden files: one training step, and the scores of all items for all users.

S users, N items, R rows of a step, E embedding. The files of MMRec count users and items from 0, without padding.
"""

from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.golden.files import Golden, Ours
from benchmarks.golden.sequences import made_loss
from models.general import GeneralRecommender
from models.general.grcn import GRCN
from models.general.lightgcn import LightGCN
from models.general.mmgcn import MMGCN
from models.general.rows import rows_of_users
from models.inputs.batch import Batch
from models.inputs.interactions import Interactions
from models.inputs.users import Users
from models.losses.pairwise import BPR
from models.losses.softmax import softmax_loss

Weights = dict[str, Tensor]
TOWERS = {"vision": "v_gcn", "text": "t_gcn"}


def run_lightgcn(golden: Golden) -> Ours:
    """LightGCN of MicroLens: softmax over the targets of the step, of which those of a row's own item are masked."""
    users, items = golden.inputs["user_ids"], golden.inputs["item_ids"]
    tables = [golden.weights[f"{noun}_embedding.weight"] for noun in ("user", "item")]
    model = LightGCN(
        users=len(tables[0]) - 1,
        items=len(tables[1]) - 1,
        embedding_dim=tables[0].shape[1],
        layers=golden.meta["n_layers"],
        reg_weight=0.0,
        repeated=True,
    )
    model.observe(_interactions(golden, model.graph.users, model.graph.items, first=1), {})
    for table, values in zip((model.users, model.items), tables, strict=True):
        table.weight.data.copy_(values)
    vectors = model.tables()
    states = rows_of_users(Users(items[:, None], users), vectors)
    slots = F.embedding(items, vectors.items)
    log_popularity = golden.inputs["pop_prob"][items].log()
    count = len(items)
    twins = items[:, None] == items
    loss = softmax_loss(
        states,
        F.pad(slots, (0, 0, 1, 0)),
        torch.arange(count) + 1,
        weights=torch.full((count,), 1 / count, dtype=torch.float32),  # as the loss is
        bias=F.pad(-log_popularity, (1, 0)),
        log_counts=F.pad(torch.ones(count), (1, 0)).log(),
        hidden=torch.where(twins, torch.arange(count) + 1, 0),
    )
    loss.backward()
    assert vectors.users is not None
    masked = twins & ~torch.eye(count, dtype=torch.bool)
    outputs = {
        "loss": loss,
        "logits": (states @ slots.T - log_popularity).masked_fill(masked, -1e8),
        "scores": vectors.users @ vectors.items.T,
    }
    gradients = {
        f"{noun}_embedding.weight": table.weight.grad
        for noun, table in (("user", model.users), ("item", model.items))
    }
    return Ours(outputs, {**gradients})


def run_mmgcn(golden: Golden) -> Ours:
    """MMGCN of MMRec, whose text features are not mapped."""
    model = MMGCN(
        **_sizes(golden, ids="id_embedding"),
        layers=sum(name.startswith("v_gcn.conv_embed_") for name in golden.weights),
        latent=0,
        latent_of=_latents(golden),
        reg_weight=golden.meta["reg_weight"],
        penalised=["vision"],
    )
    _observe(golden, model)
    names: dict[str, tuple[nn.Parameter, bool]] = {}
    for tower, prefix in TOWERS.items():
        for index, convolution in enumerate(model.convolutions[tower].layers, 1):
            names |= {
                f"{prefix}.conv_embed_{index}.weight": (convolution.neighbours.weight, True),
                f"{prefix}.linear_layer{index}.weight": (convolution.own.weight, False),
                f"{prefix}.linear_layer{index}.bias": (convolution.own.bias, False),
                f"{prefix}.g_layer{index}.weight": (convolution.combine.weight, False),
                f"{prefix}.g_layer{index}.bias": (convolution.combine.bias, False),
            }
    return _step(golden, model, names, ids="id_embedding")


def run_grcn(golden: Golden) -> Ours:
    """GRCN of MMRec, without iterations of routing: their messages have no effect in the public code."""
    model = GRCN(
        **_sizes(golden, ids="id_gcn.id_embedding"),
        routing=0,
        latent=_latents(golden)["vision"],
        reg_weight=golden.meta["reg_weight"],
        penalised=["vision"],
    )
    _observe(golden, model)
    confidence = golden.weights["model_specific_conf"]
    for tower, column in zip(TOWERS, confidence.T, strict=True):
        model.confidence[tower].data.copy_(_with_padding(column, model.graph.users))
    ours = _step(golden, model, {}, ids="id_gcn.id_embedding")
    gradients = [model.confidence[tower].grad for tower in TOWERS]
    ours.gradients["model_specific_conf"] = _without_padding(
        torch.stack([x for x in gradients if x is not None], 1), model.graph.users
    )
    ours.outputs["loss"] = ours.outputs["loss"].view(golden.outputs["loss"].shape)
    return ours


def _sizes(golden: Golden, *, ids: str) -> dict[str, int]:
    """S, N and E of a file, whose id vectors are called `ids`."""
    nodes, width = golden.weights[ids].shape
    items = len(golden.inputs["text_features"])
    return {"users": nodes - items, "items": items, "embedding_dim": width}


def _latents(golden: Golden) -> dict[str, int]:
    """Width of the mapped features of each tower that has a map."""
    maps = {tower: f"{prefix}.MLP.weight" for tower, prefix in TOWERS.items()}
    return {
        tower: len(golden.weights[name]) for tower, name in maps.items() if name in golden.weights
    }


def _observe(golden: Golden, model: MMGCN | GRCN) -> None:
    features = {tower: F.pad(golden.inputs[f"{tower}_features"], (0, 0, 1, 0)) for tower in TOWERS}
    model.observe(_interactions(golden, model.graph.users, model.graph.items, first=0), features)


def _interactions(golden: Golden, users: int, items: int, *, first: int) -> Interactions:
    """The training interactions of a file that counts users and items from `first`."""
    rows, columns = (golden.inputs[f"train_{noun}_ids"].numpy() for noun in ("user", "item"))
    return Interactions(
        users=rows + 1 - first,
        items=columns + 1 - first,
        positions=np.zeros_like(rows),
        user_count=users,
        item_count=items,
    )


def _step(
    golden: Golden, model: MMGCN | GRCN, names: dict[str, tuple[nn.Parameter, bool]], *, ids: str
) -> Ours:
    """A step with BPR, and what the file has of it.

    Args:
        golden: the file.
        model: with the file's sizes.
        names: parameters by the file's names, and whether the file has them transposed.
        ids: the file's name of the id vectors, (S + N, E).
    """
    users = model.graph.users
    for tower, prefix in TOWERS.items():
        nodes = model.contents[tower]
        names = {**names, f"{prefix}.preference": (nodes.preferences.weight, False)}
        if nodes.map is not None:
            names |= {
                f"{prefix}.MLP.{x}": (getattr(nodes.map, x), False) for x in ("weight", "bias")
            }
    for name, (parameter, transposed) in names.items():
        values = golden.weights[name]
        if name.endswith("preference"):
            values = F.pad(values, (0, 0, 1, 0))
        parameter.data.copy_(values.T if transposed else values)
    model.users.weight.data[1:] = golden.weights[ids][:users]
    model.items.weight.data[1:] = golden.weights[ids][users:]

    tables = model.tables()
    assert tables.users is not None
    loss = _bpr(golden, model)
    loss.backward()
    gradients: dict[str, Tensor | None] = {}
    for name, (parameter, transposed) in names.items():
        gradient = parameter.grad
        assert gradient is not None
        gradient = gradient[1:] if name.endswith("preference") else gradient
        gradients[name] = gradient.T if transposed else gradient
    grads = [table.weight.grad for table in (model.users, model.items)]
    gradients[ids] = torch.cat([x[1:] for x in grads if x is not None])
    outputs = {
        "loss": loss,
        "representation": torch.cat([tables.users[1:], tables.items[1:]]),
        "scores": tables.users[1:] @ tables.items[1:].T,
    }
    return Ours(outputs, gradients)


def _bpr(golden: Golden, model: nn.Module) -> Tensor:
    """The loss of the file's step through `GeneralRecommender`, penalty included."""
    users, positives, negatives = (
        golden.inputs[f"{noun}_ids"] + 1 for noun in ("user", "positive", "negative")
    )
    items, index = torch.cat([positives, negatives]).unique(return_inverse=True)
    targets, drawn = (index + 1).chunk(2)
    count = len(users)
    batch = Batch(
        features=None,
        items=items,
        shared=False,
        users=users,
        inputs=torch.zeros(count, 1, dtype=torch.int64),
        rows=torch.arange(count),
        targets=targets,
        weights=torch.full((count,), 1 / count),
        bias=torch.zeros(len(items) + 1),
        log_counts=torch.zeros(len(items) + 1),
        negatives=drawn[:, None],
    )
    criterion = made_loss(BPR, len(items), torch.zeros(0, 2, dtype=torch.int64))
    loss: Tensor = GeneralRecommender(model, criterion=criterion)(batch)
    return loss


def _with_padding(nodes: Tensor, users: int) -> Tensor:
    """Values of users and items, (S + N, …) -> (S + N + 2, …), with zeros in row 0 of each."""
    zero = nodes.new_zeros(1, *nodes.shape[1:])
    return torch.cat([zero, nodes[:users], zero, nodes[users:]])


def _without_padding(nodes: Tensor, users: int) -> Tensor:
    """The reverse of `_with_padding`."""
    return torch.cat([nodes[1 : users + 1], nodes[users + 2 :]])


RUNS: dict[str, Callable[[Golden], Ours]] = {
    "microlens_lightgcn": run_lightgcn,
    "mmrec_mmgcn": run_mmgcn,
    "mmrec_grcn": run_grcn,
}
