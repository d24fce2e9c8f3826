"""IDvs.MoRec's golden runs: the two-stage baseline, and a learned vector per item beside the content.

N items and the padding row, F width of the frozen features, B sequences, L inputs, E embedding.
"""

import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.golden.files import Golden, Ours
from benchmarks.golden.names import USER, names_by_part
from benchmarks.golden.towers import count, load, sasrec
from models.fusion import Concat, Sum
from models.items import Pooled
from toolkit.towers import TowerSpec

_TOWER = "content"


def run_two_stage(golden: Golden) -> Ours:
    """Frozen features through a head, then SASRec and the published BCE with one negative per position."""
    head = {f"fc.{name}": ours for name, ours in _head_names(golden).items()}
    user = names_by_part(golden.weights, {"user": ("user_encoder.", USER)})["user"]
    weights = {
        part: {ours: golden.weights[public] for public, ours in names.items()}
        for part, names in {"head": head, "user": user}.items()
    }
    items_of = _pooled(weights["head"]).eval()
    encoder = sasrec(weights["user"], heads=golden.meta["heads"]).eval()
    load(items_of.heads[_TOWER], weights["head"])
    load(encoder, weights["user"])

    ids, real = golden.inputs["item_ids"], golden.inputs["log_mask"] != 0
    items = items_of({_TOWER: golden.inputs["features"].unsqueeze(1)})
    states = encoder(items[ids[:, :-1]], real)
    drawn = golden.inputs["negative_ids"][:, : states.shape[1]]
    positive, negative = ((states * items[x]).sum(-1)[real] for x in (ids[:, 1:], drawn))
    loss = F.softplus(-positive).mean() + F.softplus(negative).mean()
    loss.backward()

    mine = {name: items_of.heads[_TOWER].get_parameter(ours).grad for name, ours in head.items()}
    mine |= {name: encoder.get_parameter(ours).grad for name, ours in user.items()}
    outputs = {"item_embeddings": items, "scores": states[:, -1] @ items.T, "loss": loss}
    return Ours(outputs, {name: mine.get(name) for name in golden.gradients})


def _head_names(golden: Golden) -> dict[str, str]:
    """Our names in a head of the file's `fc.`: `fc` comes first, then `mlp_layers` with other modules between them."""
    inside = [name.removeprefix("fc.") for name in golden.weights if name.startswith("fc.")]
    numbers = sorted({int(name.split(".")[1]) for name in inside if name.startswith("mlp_layers.")})
    ours = {f"mlp_layers.{number}": f"layers.{i}" for i, number in enumerate(numbers)}
    ours["fc"] = "first"
    split = [name.rpartition(".") for name in inside]
    return {f"{layer}.{kind}": f"{ours[layer]}.{kind}" for layer, _, kind in split}


def _pooled(weights: dict[str, Tensor]) -> Pooled:
    width, features = weights["first.weight"].shape
    return Pooled(
        [TowerSpec(_TOWER, 1, features)],
        embedding_dim=width,
        layers=count(weights, "layers."),
        dropout=0.0,
    )


def run_id_plus_modality(golden: Golden) -> Ours:
    """The fusion of learned vectors with content: their sum, or GELU(W · [id; content] + b)."""
    parts = {name: golden.inputs[name].clone().requires_grad_(True) for name in ("id", "content")}
    fusion = _fusion(golden, list(parts))
    fused = fusion(parts)
    objective = fused.square().sum()
    objective.backward()
    gradients = {f"input.{name}": x.grad for name, x in parts.items()}
    gradients |= {name: fusion.get_parameter(_leaf(name)).grad for name in golden.weights}
    return Ours({"fused": fused, "objective": objective}, gradients)


def _fusion(golden: Golden, names: list[str]) -> nn.Module:
    width = next(iter(golden.inputs.values())).shape[1]
    if not golden.weights:
        return Sum(names, embedding_dim=width)
    fusion = Concat(names, embedding_dim=width, activation="gelu")
    fusion.load_state_dict({_leaf(name): x for name, x in golden.weights.items()})
    return fusion


def _leaf(name: str) -> str:
    return name.rpartition(".")[2]
