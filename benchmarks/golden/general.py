"""General recommenders of golden files: one training step, and the scores of all items.

B examples, L inputs, S users, N items, E width of a vector. A batch's table has a row for each occurrence of an item, as
in the public codes, so that batch normalisation counts them as often as those do.
"""

import re
from collections.abc import Callable, Mapping
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.golden.files import Golden, Ours
from benchmarks.golden.sequences import made_loss
from models.general.deepfm import DeepFM
from models.general.dssm import DSSM
from models.general.fm import FM
from models.general.nfm import NFM
from models.general.towers import Tower
from models.general.vbpr import VBPR
from models.general.youtubednn import YouTubeDNN
from models.inputs.tables import Tables
from models.inputs.users import Users
from models.losses.loss import LossInputs, Scores
from models.losses.pairwise import BCE, BPR
from models.losses.softmax import softmax_of_batch

Weights = Mapping[str, Tensor]
TABLES = ("item_embedding.weight", "id_embedding.weight", "visual_encoder.weight")
MASKED = -1e8  # in the logits of the files


def run_dssm(golden: Golden, *, pairs: type[BCE] | type[BPR] = BCE) -> Ours:
    """Two towers, with an in-batch softmax, or a pairwise loss if the file has a negative for each target."""
    (table_name,) = set(golden.weights) & set(TABLES)
    table = golden.weights[table_name].clone().requires_grad_(True)
    names = {"user_embedding.weight": "users.weight"} | {
        f"{start}{name}": f"{side}_tower.{ours}"
        for side, start in _sides(golden.weights)
        for name, ours in _layer_names(golden.weights, start).items()
    }
    model = _dssm(golden, {ours: golden.weights[name] for name, ours in names.items()})
    occurrences = F.pad(table[golden.inputs["item_ids"].flatten()], (0, 0, 1, 0))
    everyone = Users(_nothing(len(model.users.weight)), torch.arange(len(model.users.weight)))
    outputs = {
        "scores": _all_scores(model, model.eval().tables(F.pad(table, (0, 0, 1, 0))), everyone)
    }
    of_batch = Users(_nothing(len(occurrences)), golden.inputs["user_ids"])
    outputs |= _step(golden, model.train(), model.tables(occurrences), of_batch, pairs=pairs)
    return _result(golden, outputs, {**_parameters(model, names), table_name: table})


def _dssm(golden: Golden, weights: Weights) -> DSSM:
    sizes = [x.shape for name, x in weights.items() if "user_tower.layers" in name and x.ndim == 2]
    rows, width = weights["users.weight"].shape
    model = DSSM(
        users=rows - 1,
        embedding_dim=width,
        layers=len(sizes),
        activation="gelu" if "morec" in golden.name else "tanh",
        norm="batch" if "user_tower.norms.0.weight" in weights else "none",
    )
    if any(size != (width, width) for size in sizes):  # with us all layers have the same width
        towers = (
            Tower([width, *(size[0] for size in sizes)], activation="tanh", norm="batch")
            for _ in range(2)
        )
        model.user_tower, model.item_tower = towers
    _load(model, weights)
    return model


def _sides(weights: Weights) -> list[tuple[str, str]]:
    """The sides whose layers a file has, and how their public names start."""
    starts = (
        ("user", "user_mlp_layers."), ("item", "item_mlp_layers."),
        ("user", "user_encoder.MLP."), ("item", "id_encoder.MLP."),
    )  # fmt: skip
    return [(side, start) for side, start in starts if any(x.startswith(start) for x in weights)]


def _layer_names(weights: Weights, start: str) -> dict[str, str]:
    """Our names in a tower of the public names after `start`, `mlp_layers.NUMBER.KIND`."""
    inside = {name.removeprefix(start): x for name, x in weights.items() if name.startswith(start)}
    numbers = sorted({int(name.split(".")[1]) for name in inside})
    is_linear = {number: inside[f"mlp_layers.{number}.weight"].ndim == 2 for number in numbers}
    ours = {}
    for kind, linear in (("layers", True), ("norms", False)):
        chosen = [number for number in numbers if is_linear[number] == linear]
        ours |= {str(number): f"{kind}.{i}" for i, number in enumerate(chosen)}
    return {name: re.sub(r"mlp_layers\.(\d+)", lambda x: ours[x[1]], name) for name in inside}


def run_vbpr(golden: Golden) -> Ours:
    """VBPR, with an in-batch softmax, or BPR if the file has a negative for each target."""
    weights, features = golden.weights, golden.inputs["features"]
    item_ids = golden.inputs["item_ids"].flatten()
    halves = ("user_id_embedding.weight", "user_modal_embedding.weight")
    half = weights[halves[0]].shape[1]
    model = VBPR(
        users=len(weights[halves[0]]) - 1,
        items=len(features) - 1,
        embedding_dim=2 * half,
        content_bias="bias_projection.weight" in golden.gradients,
        feature_dim=features.shape[1],
    )
    model.features = features
    names = {
        "item_id_embedding.weight": "items.weight",
        "feature_projection.weight": "projection.weight",
    }
    if model.bias is not None:
        names["bias_projection.weight"] = "bias"
    ours = {name: weights[public] for public, name in names.items()}
    ours["users.weight"] = torch.cat([weights[name] for name in halves], dim=1)
    for name, parameter in model.named_parameters():
        parameter.data.copy_(ours[name].view_as(parameter))
    everyone = Users(_nothing(len(model.users.weight)), torch.arange(len(model.users.weight)))
    tables = model.tables(None)
    outputs = {"scores": _all_scores(model, Tables(F.pad(tables.items, (0, 0, 1, 0))), everyone)}
    rows, of_users = model.tables_of(item_ids)
    of_batch = Users(_nothing(len(item_ids)), golden.inputs["user_ids"])
    tables = Tables(F.pad(rows, (0, 0, 1, 0)), of_users)
    outputs |= _step(golden, model, tables, of_batch, pairs=BPR)
    found = _result(golden, outputs, _parameters(model, names))
    for name, gradient in zip(halves, model.users.weight.grad.split(half, dim=1), strict=True):
        found.gradients[name] = gradient
    return found


def run_histories(golden: Golden) -> Ours:
    """A model of histories: an in-batch softmax over all occurrences, or BCE if the file has a negative for each target."""
    (table_name,) = set(golden.weights) & set(TABLES)
    table = golden.weights[table_name].clone().requires_grad_(True)
    model, names = _of_histories(golden)
    _load(model, {ours: golden.weights[name] for name, ours in names.items()})
    histories = golden.inputs["input_seq"]
    vectors = table * (torch.arange(len(table)) != 0)[:, None]
    # Padding is the candidate with index 1; where it is in no training batch, with its initial vector.
    everything = F.pad(table if "negative_ids" in golden.inputs else vectors, (0, 0, 1, 0))
    known = Users(torch.where(histories != 0, histories + 1, 0))
    outputs = {"scores": _all_scores(model.eval(), model.tables(everything), known)}
    if isinstance(model, NFM):  # not defined for padding
        outputs["scores"][:, 0] = 0.0
    if "negative_ids" in golden.inputs:
        drawn = [golden.inputs[f"{kind}_ids"][:, None] for kind in ("positive", "negative")]
    else:
        drawn = [golden.inputs["targets"][:, None]]
    ids = torch.cat([histories, *drawn], dim=1)
    slots = torch.arange(ids.numel()).view(ids.shape) + 1
    users = Users(torch.where(histories != 0, slots[:, : histories.shape[1]], 0))
    tables = model.train().tables(F.pad(vectors[ids.flatten()], (0, 0, 1, 0)))
    outputs |= _step(golden, model, tables, users, pairs=BCE, ids=ids)
    return _result(golden, outputs, {**_parameters(model, names), table_name: table})


def _of_histories(golden: Golden) -> tuple[nn.Module, dict[str, str]]:
    """The model of a file, and our names of its weights without the item table."""
    weights = {name: x for name, x in golden.weights.items() if name not in TABLES}
    (width,) = {golden.weights[name].shape[1] for name in TABLES if name in golden.weights}
    if "dense1.weight" in weights:
        hidden, fields = weights["dense1.weight"].shape
        names = {"dense1": "first", "dense2": "output"}
        renamed = {name: re.sub(r"^dense\d", lambda x: names[x[0]], name) for name in weights}
        length = fields // width - 1
        model = DeepFM(embedding_dim=width, max_len=length, width=hidden, history_pairs=True)
        return model, renamed
    if not weights:
        return FM(embedding_dim=width, history_pairs=True), {}
    inside = _layer_names({x: y for x, y in weights.items() if "mlp_layers" in x}, "mlp_layers.")
    layers = sum(name.endswith(".weight") for name in inside)
    names = {f"mlp_layers.{name}": f"tower.{ours}" for name, ours in inside.items()}
    if "bn.weight" not in weights:
        return YouTubeDNN(embedding_dim=width, layers=layers), names
    last = f"tower.layers.{layers - 1}."
    names = {name: ours.replace(last, "output.") for name, ours in names.items()}
    names |= {name: name.replace("bn.", "norm.") for name in weights if name.startswith("bn.")}
    return NFM(embedding_dim=width, layers=layers - 1, final_relu=True), names


def _step(
    golden: Golden,
    model: nn.Module,
    tables: Tables,
    users: Users,
    *,
    pairs: type[BCE] | type[BPR],
    ids: Tensor | None = None,
) -> dict[str, Tensor]:
    """The loss of a batch, and its logits if all examples share their columns.

    Args:
        golden: the file.
        model: in training mode.
        tables: a row for each occurrence of an item, after the padding.
        users: of the examples.
        pairs: the loss if the file has a negative for each target.
        ids: (B, L + 1) or with negatives (B, L + 2) item numbers of the occurrences; None if those of the file are (B,)
            or (B, 2).
    """
    has_history = ids is not None
    if ids is None:
        ids = golden.inputs["item_ids"]
        ids = ids[:, None] if ids.ndim == 1 else ids
    has_negatives = "negative_ids" in golden.inputs or (ids.shape[1] == 2 and not has_history)
    slots = torch.arange(ids.numel()).view(ids.shape) + 1
    own = model.scores if hasattr(model, "scores") else None  # type: ignore[union-attr]
    given = {} if own is None else {"scores": Scores(own, model.values_per_score)}  # type: ignore[arg-type]
    states = model.user_vectors(users, tables)  # type: ignore[operator]
    shared = {"inputs": torch.ones(len(ids), 1).long(), "rows": torch.arange(len(ids))}
    if has_negatives:
        parts = len(ids) * (2 if pairs is BCE else 1)  # BCE is a mean over targets and negatives
        batch = LossInputs(
            **shared,
            targets=slots[:, -2],
            weights=torch.full((len(ids),), 1 / parts),
            bias=torch.zeros(0),
            log_counts=torch.zeros(0),
            negatives=slots[:, -1:],
        )
        return {"loss": made_loss(pairs, ids.numel(), ids)(states, tables.items, batch, **given)}
    flat = F.pad(ids.flatten(), (1, 0))
    popularity = torch.where(flat != 0, golden.inputs["pop_prob"][flat], 1.0)
    equal = (ids[:, :, None] == flat[None, None]).any(1)  # (B, columns + 1)
    batch = LossInputs(
        **shared,
        targets=slots[:, -1],
        weights=torch.full((len(ids),), 1 / len(ids), dtype=torch.float32),  # as the loss is
        bias=-popularity.log(),
        log_counts=(flat != 0).to(popularity).log(),
        hidden=torch.where(equal, torch.arange(len(flat)), 0),
    )
    loss = softmax_of_batch(states, tables.items, batch, **given)
    with torch.no_grad():
        logits = _scores(model, states, tables.items) + batch.bias
        hide = (equal | (flat == 0)).scatter(1, slots[:, -1:], False)
    return {"loss": loss, "logits": logits.masked_fill(hide, MASKED)[:, 1:]}


@torch.no_grad()
def _all_scores(model: nn.Module, tables: Tables, users: Users) -> Tensor:
    """The scores of all items for these users, (B, N + 1), of which the file counts padding as an item."""
    states = model.user_vectors(users, tables)  # type: ignore[operator]
    items = tables.items[1:]
    if isinstance(model, FM):  # the file leaves out what does not depend on the item
        states, items = states[:, :-1], items[:, :-1]
    return _scores(model, states, items)


def _scores(model: nn.Module, users: Tensor, items: Tensor) -> Tensor:
    return model.scores(users, items) if hasattr(model, "scores") else users @ items.mT  # type: ignore[operator]


def _load(model: nn.Module, weights: Weights) -> None:
    """Loads all weights of a file under our names, running statistics included.

    Raises:
        KeyError: if a weight has no place, or a parameter no weight.
    """
    report = model.load_state_dict(dict(weights), strict=False)
    absent = [name for name in report.missing_keys if not name.endswith("num_batches_tracked")]
    if absent or report.unexpected_keys:
        raise KeyError(f"no weight for {absent}, no place for {report.unexpected_keys}")


def _nothing(users: int) -> Tensor:
    """Inputs of users whose history is not read."""
    return torch.zeros(users, 1).long()


def _parameters(model: nn.Module, names: Mapping[str, str]) -> dict[str, Tensor]:
    """Our parameters by their public names."""
    ours = dict(model.named_parameters())
    return {name: ours[our] for name, our in names.items() if our in ours}


def _result(golden: Golden, outputs: dict[str, Tensor], leaves: Mapping[str, Tensor]) -> Ours:
    outputs["loss"].backward()
    gradients = {name: x.grad for name, x in leaves.items() if name in golden.gradients}
    return Ours(
        outputs,
        {
            name: None if x is None else x.reshape(golden.gradients[name].shape)
            for name, x in gradients.items()
        },
    )


RUNS: dict[str, Callable[[Golden], Ours]] = {
    **{f"{code}_dssm": run_dssm for code in ("microlens", "ninerec", "morec")},
    "ninerec_variant_dssm": partial(run_dssm, pairs=BPR),
    **{f"{code}_vbpr": run_vbpr for code in ("microlens", "ninerec")},
    **dict.fromkeys(
        (
            "microlens_nfm",
            "microlens_deepfm",
            "ninerec_fm",
            "ninerec_youtubednn",
            "ninerec_modality_youtubednn",
        ),
        run_histories,
    ),
}
