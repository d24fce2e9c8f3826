"""LightGCN, MMGCN and GRCN against slow references, written from the equations node by node."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.general import GENERAL
from models.general.grcn import GRCN
from models.general.kind import GeneralKind, observe
from models.general.lightgcn import LightGCN
from models.general.mmgcn import MMGCN
from models.inputs.batch import Batch
from models.inputs.interactions import Interactions
from models.inputs.users import Users
from toolkit.errors import UserError

S, N, E = 4, 6, 3
# User 1 has item 2 twice; user 4 and items 5 and 6 have no interactions.
PAIRS = [(1, 2), (1, 2), (1, 3), (2, 3), (3, 1), (3, 4), (3, 3)]
WIDTHS = {"text": 5, "video": 2}
OPTIONS: dict[str, dict[str, Any]] = {
    "lightgcn": {"layers": 2},
    "mmgcn": {"layers": 2, "latent": 4, "latent_of": {"video": 0}},
    "grcn": {"layers": 2, "routing": 2, "latent": 4},
}


@pytest.fixture(autouse=True)
def double_precision() -> Iterator[None]:
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def interactions() -> Interactions:
    users, items = np.array(PAIRS).T
    return Interactions(users, items, np.zeros_like(users), user_count=S, item_count=N)


def features() -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(1)
    return {
        tower: F.pad(torch.randn(N, width, generator=generator), (0, 0, 1, 0))
        for tower, width in WIDTHS.items()
    }


def built(kind: str, **options: Any) -> Any:
    """A model with weights away from their start."""
    options = {**OPTIONS[kind], **options}
    model = GENERAL[kind].module(users=S, items=N, embedding_dim=E, **options)
    observe(model, interactions(), features())
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(0.7 * torch.randn(parameter.shape, generator=generator))
    return model


def neighbours(*, repeated: bool = False) -> dict[int, list[int]]:
    """The neighbours of each node: user u is node u, item i is node S + 1 + i."""
    near: dict[int, list[int]] = {node: [] for node in range(S + N + 2)}
    for user, item in PAIRS if repeated else sorted(set(PAIRS)):
        near[user].append(S + 1 + item)
        near[S + 1 + item].append(user)
    return near


def slow_lightgcn(model: LightGCN, *, repeated: bool = False) -> Tensor:
    near = neighbours(repeated=repeated)
    layers = [list(torch.cat([model.users.weight, model.items.weight]))]
    for _ in range(model.layers):
        last = layers[-1]
        layers.append(
            [
                sum(
                    (last[other] / (len(near[node]) * len(near[other])) ** 0.5 for other in near[node]),
                    torch.zeros(E),
                )
                for node in near
            ]
        )  # fmt: skip
    return torch.stack([torch.stack(layer) for layer in layers]).mean(0)


def slow_mmgcn(model: MMGCN) -> Tensor:
    near, weights = neighbours(), dict(model.named_parameters())
    ids = torch.cat([model.users.weight, model.items.weight])
    towers = []
    for tower, given in features().items():
        items = given
        if f"contents.towers.{tower}.map.weight" in weights:
            items = torch.stack(
                [
                    weights[f"contents.towers.{tower}.map.weight"] @ x
                    + weights[f"contents.towers.{tower}.map.bias"]
                    for x in items
                ]
            )
        start = torch.cat([weights[f"contents.towers.{tower}.preferences.weight"], items])
        nodes = [x / x.norm().clamp(min=1e-12) for x in start]
        for layer in range(model.layers):
            prefix = f"convolutions.{tower}.layers.{layer}"
            made = []
            for node, x in enumerate(nodes):
                sent = [weights[f"{prefix}.neighbours.weight"] @ nodes[n] for n in near[node]]
                mean = sum(sent, torch.zeros_like(x)) / max(len(sent), 1)
                own = weights[f"{prefix}.own.weight"] @ x + weights[f"{prefix}.own.bias"]
                both = torch.cat([F.leaky_relu(mean, 0.01), F.leaky_relu(own, 0.01) + ids[node]])
                out = weights[f"{prefix}.combine.weight"] @ both + weights[f"{prefix}.combine.bias"]
                made.append(F.leaky_relu(out, 0.01))
            nodes = made
        towers.append(torch.stack(nodes))
    return torch.stack(towers).mean(0)


def slow_grcn(model: GRCN) -> Tensor:
    near, weights = neighbours(), dict(model.named_parameters())

    def attention(nodes: list[Tensor], node: int) -> Tensor:
        return torch.stack([nodes[node] @ nodes[other] for other in near[node]]).softmax(0)

    contents, supports = [], []
    for tower, given in features().items():
        prefix = f"contents.towers.{tower}"
        mapped = given @ weights[f"{prefix}.map.weight"].T + weights[f"{prefix}.map.bias"]
        start = torch.cat([weights[f"{prefix}.preferences.weight"], F.leaky_relu(mapped, 0.01)])
        nodes = [x / x.norm() for x in start]
        for _ in range(model.routing):
            before = list(nodes)
            for user in range(1, S + 1):
                if near[user]:
                    alpha = attention(before, user)
                    moved = before[user] + sum(
                        a * before[item] for a, item in zip(alpha, near[user], strict=True)
                    )
                    nodes[user] = moved / moved.norm()
        alphas = {node: attention(nodes, node) for node in near if near[node]}
        contents.append(
            torch.stack(
                [
                    nodes[node]
                    + sum(
                        (a * nodes[other] for a, other in zip(alphas.get(node, ()), near[node], strict=True)),
                        torch.zeros_like(nodes[node]),
                    )
                    for node in near
                ]
            )
        )  # fmt: skip
        confidence = weights[f"confidence.{tower}"]
        supports.append({node: alpha * confidence[near[node]] for node, alpha in alphas.items()})
    ids = torch.cat([model.users.weight, model.items.weight])
    layers = [[x / x.norm() for x in ids]]
    for _ in range(model.layers):
        made = []
        for node in near:
            total = torch.zeros(E)
            for index, other in enumerate(near[node]):
                weight = torch.stack([support[node][index] for support in supports]).max()
                total = total + weight.clamp(min=0) * layers[-1][other]
            made.append(total)
        layers.append(made)
    summed = torch.stack([torch.stack(layer) for layer in layers]).sum(0)
    return torch.cat([summed, *contents], 1)


SLOW: dict[str, Callable[..., Tensor]] = {
    "lightgcn": slow_lightgcn,
    "mmgcn": slow_mmgcn,
    "grcn": slow_grcn,
}


def check(model: nn.Module, slow: Callable[[], Tensor]) -> None:
    """Tables and gradients of all parameters equal those of a reference over all nodes."""
    tables = model.tables(None)  # type: ignore[operator]
    fast = torch.cat([tables.users[1:], tables.items[1:]])
    expected = slow()
    expected = torch.cat([expected[1 : S + 1], expected[S + 2 :]])
    torch.testing.assert_close(fast, expected)
    generator = torch.Generator().manual_seed(5)
    direction = torch.randn(fast.shape, generator=generator)
    parameters = list(model.parameters())
    mine, theirs = (
        torch.autograd.grad((x * direction).sum(), parameters, allow_unused=True)
        for x in (fast, expected)
    )
    for (name, parameter), a, b in zip(model.named_parameters(), mine, theirs, strict=True):
        a, b = (torch.zeros_like(parameter) if x is None else x for x in (a, b))
        torch.testing.assert_close(a, b, msg=name)


@pytest.mark.parametrize("kind", ["lightgcn", "mmgcn", "grcn"])
def test_equations(kind: str) -> None:
    model = built(kind)
    check(model, lambda: SLOW[kind](model))


def test_lightgcn_counts_repeated_interactions_if_so_set() -> None:
    model = built("lightgcn", repeated=True)
    check(model, lambda: slow_lightgcn(model, repeated=True))
    assert not torch.allclose(model.tables().items, built("lightgcn").tables().items)


def test_lightgcn_without_layers_is_matrix_factorisation() -> None:
    model = built("lightgcn", layers=0)
    assert torch.equal(model.tables().items, model.items.weight)


def test_routing_moves_users_and_without_it_only_the_edges_count() -> None:
    """In the public code the number of iterations has no effect."""
    first, second = (built("grcn", routing=count).tables().users for count in (0, 3))
    assert not torch.allclose(first[1:4], second[1:4])
    assert torch.allclose(first[4], second[4])  # without interactions


@pytest.mark.parametrize("kind", ["lightgcn", "mmgcn", "grcn"])
def test_items_without_interactions_have_vectors(kind: str) -> None:
    tables = built(kind).tables(None)
    assert torch.isfinite(tables.items).all() and torch.isfinite(tables.users).all()
    assert (tables.items[5:].norm(dim=1) > 0).all()


def test_lightgcn_vectors_without_interactions_are_a_share_of_the_initial_ones() -> None:
    model = built("lightgcn")
    torch.testing.assert_close(model.tables().items[5:], model.items.weight[5:] / 3)


@pytest.mark.parametrize("kind", ["lightgcn", "mmgcn", "grcn"])
def test_a_loaded_model_equals_the_saved_one(kind: str) -> None:
    declaration: GeneralKind = GENERAL[kind]
    torch.set_default_dtype(torch.float32)
    saved = built(kind)
    loaded = declaration.load(declaration.describe(saved))
    loaded.load_state_dict(saved.state_dict())
    for mine, theirs in zip(loaded.tables(None), saved.tables(None), strict=True):  # type: ignore[operator]
        assert torch.equal(mine, theirs)


@pytest.mark.parametrize("kind", ["lightgcn", "mmgcn", "grcn"])
def test_new_models_are_equal_and_padding_is_zeros(kind: str) -> None:
    models = []
    for _ in range(2):
        torch.manual_seed(0)
        settings = GENERAL[kind].settings(**OPTIONS[kind])
        models.append(GENERAL[kind].build(settings, users=S, items=N, embedding_dim=E))
        observe(models[-1], interactions(), features())
    first, second = (model.state_dict() for model in models)
    assert first.keys() == second.keys() and all(torch.equal(first[k], second[k]) for k in first)
    for table in models[0].tables(None):  # type: ignore[operator]
        assert not table[0].any() and table[1:].any(1).all()


@pytest.mark.parametrize("kind", ["mmgcn", "grcn"])
def test_autocast_keeps_messages_in_float32(kind: str) -> None:
    torch.set_default_dtype(torch.float32)
    model = built(kind)
    expected = model.tables(None)
    with torch.autocast("cpu", torch.bfloat16):
        tables = model.tables(None)
        tables.users.float().square().sum().backward()
    torch.testing.assert_close(tables.items.float(), expected.items, atol=0.1, rtol=0.1)
    assert all(p.grad is None or torch.isfinite(p.grad).all() for p in model.parameters())


def batch(*, negatives: bool = True) -> Batch:
    """Users 2, 3 and 1 with targets 3, 1 and 2, and negatives (5, 6), (2, 5) and (6, 6); the last row weighs double."""
    items = torch.tensor([1, 2, 3, 5, 6])
    return Batch(
        features=None,
        items=items,
        shared=False,
        users=torch.tensor([2, 3, 1]),
        inputs=torch.zeros(3, 2, dtype=torch.int64),
        rows=torch.tensor([1, 3, 5]),
        targets=torch.tensor([3, 1, 2]),
        weights=torch.tensor([0.25, 0.25, 0.5]),
        bias=torch.zeros(6),
        log_counts=torch.zeros(6),
        negatives=torch.tensor([[4, 5], [2, 4], [5, 5]]) if negatives else None,
    )


ROWS = [(0.25, 2, 3, (5, 6)), (0.25, 3, 1, (2, 5)), (0.5, 1, 2, (6, 6))]


@pytest.mark.parametrize("negatives", [True, False])
def test_penalty_of_lightgcn(negatives: bool) -> None:
    model = built("lightgcn", reg_weight=0.3)
    expected = 0.0
    for weight, user, target, drawn in ROWS:
        of_row = model.users.weight[user].square().sum() + model.items.weight[target].square().sum()
        for item in drawn if negatives else ():
            of_row = of_row + model.items.weight[item].square().sum() / 2
        expected = expected + 0.15 * weight * of_row
    torch.testing.assert_close(model.penalty(batch(negatives=negatives)), expected)


@pytest.mark.parametrize("penalised", [[], ["video"]], ids=["all", "video"])
@pytest.mark.parametrize("kind", ["mmgcn", "grcn"])
def test_penalty_of_multimodal_models(kind: str, penalised: list[str]) -> None:
    model = built(kind, reg_weight=0.3, penalised=penalised)
    expected = 0.0
    for weight, user, target, drawn in ROWS:
        of_items = model.items.weight[target].square()
        for item in drawn:
            of_items = of_items + model.items.weight[item].square() / 2
        of_row = (model.users.weight[user].square() + of_items / 2).mean()
        for tower in WIDTHS if kind == "grcn" else ():
            of_row = of_row + model.contents[tower].preferences.weight[user].square().mean()
        expected = expected + weight * of_row
    for tower in penalised or WIDTHS:
        expected = expected + model.contents[tower].preferences.weight[1:].square().mean()
    torch.testing.assert_close(model.penalty(batch()), 0.3 * expected)


def test_ids_and_preferences_train_unless_set_as_in_the_public_code() -> None:
    names = {"users.weight", "items.weight"} | {
        f"contents.towers.{tower}.preferences.weight" for tower in WIDTHS
    }
    fixed = {
        name
        for name, p in built("mmgcn", learn_ids=False).named_parameters()
        if not p.requires_grad
    }
    assert fixed == names
    assert all(parameter.requires_grad for parameter in built("mmgcn").parameters())


def test_user_vectors_are_rows_of_the_table() -> None:
    model = built("lightgcn")
    tables = model.tables()
    inputs, rows = torch.zeros(2, 1, dtype=torch.int64), torch.tensor([3, 0])
    vectors = model.user_vectors(Users(inputs, rows), tables)
    assert torch.equal(vectors, tables.users[[3, 0]])
    with pytest.raises(ValueError, match="the rows of the users are missing"):
        model.user_vectors(Users(inputs), tables)


@pytest.mark.parametrize(
    ("kind", "options", "message"),
    [
        ("lightgcn", {"layers": -1}, "layers is -1"),
        ("mmgcn", {"layers": 0}, "expected at least 1 layer"),
        ("mmgcn", {"latent_of": {"text": -2}}, "the width of text is -2"),
        ("grcn", {"latent": 0}, "expected a positive latent"),
        ("grcn", {"routing": -1}, "routing -1"),
    ],
)
def test_settings_out_of_range_are_refused(
    kind: str, options: dict[str, Any], message: str
) -> None:
    settings = GENERAL[kind].settings(**options)
    with pytest.raises(UserError, match=f"recommender.kind {kind}: .*{message}"):
        GENERAL[kind].build(settings, users=S, items=N, embedding_dim=E)


@pytest.mark.parametrize(
    ("kind", "options", "message"),
    [
        ("mmgcn", {"latent_of": {"audio": 2}}, "latent_of has audio, but the towers are text, video"),
        ("grcn", {"penalised": ["audio"]}, "penalised has audio, but the towers are text, video"),
    ],
)  # fmt: skip
def test_other_towers_are_refused(kind: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        built(kind, **options)


def test_a_multimodal_graph_recommender_needs_features() -> None:
    model = MMGCN(users=S, items=N)
    with pytest.raises(UserError, match="needs the features of at least one tower"):
        model.observe(interactions(), {})
