"""General recommenders against their equations, pair by pair; padding; saving; half batches."""

import json
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.general import GENERAL, GeneralRecommender
from models.general.kind import GeneralKind, observe
from models.general.nfm import NFM
from models.inputs.tables import Tables
from models.inputs.users import Users

S, N, L, E = 5, 9, 4, 6
HISTORIES = torch.tensor([[0, 0, 0, 3], [0, 7, 2, 7], [1, 2, 3, 4], [0, 0, 9, 8]])
ROWS = torch.tensor([2, 5, 0, 1])
FEATURES = {"title": F.pad(torch.randn(N, 7), (0, 0, 1, 0)), "cover": F.pad(torch.randn(N, 3), (0, 0, 1, 0))}  # fmt: skip
CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "mf": ("dssm", {}),
    "dssm": ("dssm", {"layers": 2, "width": 4}),
    "dssm-gelu": ("dssm", {"layers": 1, "activation": "gelu", "norm": "none"}),
    "youtubednn": ("youtubednn", {}),
    "vbpr": ("vbpr", {}),
    "vbpr-bias": ("vbpr", {"content_bias": True}),
    "fm": ("fm", {"history_pairs": True}),
    "nfm": ("nfm", {"layers": 2}),
    "nfm-relu": ("nfm", {"final_relu": True}),
    "deepfm": ("deepfm", {"layers": 2, "width": 5, "history_pairs": True}),
}
OF_HISTORIES = [case for case, (name, _) in CASES.items() if not GENERAL[name].needs_user]


def make(case: str) -> tuple[GeneralKind, nn.Module]:
    """A model with random weights and statistics, so that no part of an equation is 0 or 1."""
    name, chosen = CASES[case]
    kind = GENERAL[name]
    with torch.random.fork_rng():
        torch.manual_seed(1)
        settings = kind.settings(**chosen)
        model = kind.build(settings, users=S, items=N, embedding_dim=E, max_len=L)
        observe(model, None, FEATURES)  # type: ignore[arg-type]
        for key, values in model.state_dict().items():
            if key != "features" and values.is_floating_point():
                values.copy_(torch.rand_like(values) + 0.2 if "_var" in key else torch.randn_like(values))  # fmt: skip
    return kind, model.eval()


def vectors(seed: int = 0) -> Tensor:
    """(N + 1, E), row 0 zeros."""
    return F.pad(torch.randn(N, E, generator=torch.Generator().manual_seed(seed)), (0, 0, 1, 0))


def tables_of(kind: GeneralKind, model: Any) -> Tables:
    return model.tables(vectors() if kind.reads == "vectors" else None)


@torch.no_grad()
def scores_of(case: str, histories: Tensor = HISTORIES) -> Tensor:
    kind, model = make(case)
    recommender: Any = GeneralRecommender(model)
    tables = tables_of(kind, model)
    users = recommender.user_vectors(Users(histories, ROWS), tables)
    own = recommender.own_scores
    return users @ tables.items.T if own is None else own(users, tables.items)


def fields(history: Tensor, item: int) -> list[Tensor]:
    """The vectors of the history's real items and of the candidate."""
    return [vectors()[i] for i in [*history[history != 0].tolist(), item]]


def products(history: Tensor, item: int) -> Tensor:
    """The sum of the products of all pairs of fields, (E,)."""
    found = fields(history, item)
    return sum(  # type: ignore[return-value]
        found[i] * found[j] for j in range(len(found)) for i in range(j)
    )


def normalised(rows: Tensor, state: dict[str, Tensor], name: str) -> Tensor:
    """Batch normalisation with running statistics."""
    centred = rows - state[f"{name}.running_mean"]
    scaled = centred / (state[f"{name}.running_var"] + 1e-5).sqrt()
    return scaled * state[f"{name}.weight"] + state[f"{name}.bias"]


def through(rows: Tensor, state: dict[str, Tensor], tower: str, act: Callable[..., Tensor]) -> Tensor:  # fmt: skip
    """The layers of a tower."""
    for layer in range(sum(key.startswith(f"{tower}.layers.") for key in state) // 2):
        rows = state[f"{tower}.layers.{layer}.weight"] @ rows + state[f"{tower}.layers.{layer}.bias"]  # fmt: skip
        if f"{tower}.norms.{layer}.weight" in state:
            rows = normalised(rows, state, f"{tower}.norms.{layer}")
        rows = act(rows)
    return rows


def slow_dssm(state: dict[str, Tensor], history: Tensor, user: int, item: int) -> Tensor:
    tanh = "user_tower.norms.0.weight" in state
    act = torch.tanh if tanh else F.gelu
    user_vector = through(state["users.weight"][user], state, "user_tower", act)
    return user_vector @ through(vectors()[item], state, "item_tower", act)


def slow_youtubednn(state: dict[str, Tensor], history: Tensor, user: int, item: int) -> Tensor:
    mean = torch.stack(fields(history, item)[:-1]).mean(0)
    return through(mean, state, "tower", torch.relu) @ vectors()[item]


def slow_vbpr(state: dict[str, Tensor], history: Tensor, user: int, item: int) -> Tensor:
    features = torch.cat([states[item] for states in FEATURES.values()])
    learned, content = state["users.weight"][user].split(E // 2)
    score = learned @ state["items.weight"][item] + content @ state["projection.weight"] @ features
    return score + state["bias"] @ features if "bias" in state else score


def slow_fm(state: dict[str, Tensor], history: Tensor, user: int, item: int) -> Tensor:
    return products(history, item).sum()


def slow_nfm(state: dict[str, Tensor], history: Tensor, user: int, item: int) -> Tensor:
    hidden = normalised(products(history, item), state, "norm")
    hidden = through(hidden, state, "tower", torch.relu)
    return (state["output.weight"] @ hidden + state["output.bias"])[0]


def slow_deepfm(state: dict[str, Tensor], history: Tensor, user: int, item: int) -> Tensor:
    ordered = torch.cat([*vectors()[history], vectors()[item]])
    hidden = through((state["first.weight"] @ ordered).relu(), state, "tower", torch.relu)
    deep = (state["output.weight"] @ hidden + state["output.bias"])[0]
    return products(history, item).sum() + deep


SLOW: dict[str, Callable[..., Tensor]] = {
    "dssm": slow_dssm,
    "youtubednn": slow_youtubednn,
    "vbpr": slow_vbpr,
    "fm": slow_fm,
    "nfm": slow_nfm,
    "deepfm": slow_deepfm,
}


@pytest.mark.parametrize("case", CASES)
def test_scores_equal_the_equation(case: str) -> None:
    name = CASES[case][0]
    state = make(case)[1].state_dict()
    slow = torch.stack(
        [
            torch.stack([SLOW[name](state, h, int(u), item) for item in range(1, N + 1)])
            for h, u in zip(HISTORIES, ROWS, strict=True)
        ]
    )
    slow = slow.relu() if case == "nfm-relu" else slow
    torch.testing.assert_close(scores_of(case)[:, 1:], slow, rtol=1e-4, atol=1e-4)
    if case == "nfm-relu":
        assert (slow == 0).any()


@pytest.mark.parametrize("name", ["fm", "deepfm"])
def test_pairs_of_the_history_add_a_constant_per_user(name: str) -> None:
    CASES["plain"] = (name, {**CASES[name][1], "history_pairs": False})
    try:
        difference = scores_of(name) - scores_of("plain")
    finally:
        del CASES["plain"]
    history = [products(h, 0).sum() for h in HISTORIES]
    expected = torch.stack(history)[:, None].expand_as(difference)
    torch.testing.assert_close(difference, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("case", OF_HISTORIES)
def test_padding_changes_nothing(case: str) -> None:
    for row, length in ((0, 1), (1, 3), (3, 2)):
        short = scores_of(case, HISTORIES[row : row + 1, L - length :])
        torch.testing.assert_close(short[0], scores_of(case)[row], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("case", ["nfm", "nfm-relu", "deepfm"])
def test_scores_take_leading_dimensions(case: str) -> None:
    kind, model = make(case)
    tables = tables_of(kind, model)
    users = model.user_vectors(Users(HISTORIES, ROWS), tables)  # type: ignore[operator]
    chosen = torch.tensor([[1, 2], [3, 3], [9, 4], [5, 6]])
    some = model.scores(users[:, None], tables.items[chosen]).squeeze(1)  # type: ignore[operator]
    whole = model.scores(users, tables.items)  # type: ignore[operator]
    torch.testing.assert_close(some, whole.gather(1, chosen), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("case", CASES)
def test_a_model_is_rebuilt_from_its_settings(case: str) -> None:
    kind, model = make(case)
    back = kind.load(json.loads(json.dumps(kind.describe(model))))
    assert str(back) == str(model)
    back.load_state_dict(model.state_dict())
    again, first = (tables_of(kind, m.eval()) for m in (back, model))
    assert torch.equal(again.items, first.items)
    users = [m.user_vectors(Users(HISTORIES, ROWS), first) for m in (back, model)]  # type: ignore[operator]
    assert torch.equal(*users)


def test_batch_normalisation_over_pairs_equals_that_over_each_pair() -> None:
    """Values, running statistics and gradients, in training."""
    _, model = make("nfm")
    assert isinstance(model, NFM)
    plain = nn.BatchNorm1d(E)
    plain.load_state_dict({**model.norm.state_dict(), "num_batches_tracked": torch.tensor(0)})
    torch.manual_seed(3)
    slopes, constants, items = (torch.randn(rows, E, requires_grad=True) for rows in (5, 5, 7))
    aims = torch.randn(5, 7, E)
    found = []
    for norm in (model.norm.train(), plain.train()):
        if norm is plain:
            pairs = constants[:, None] + slopes[:, None] * items[None]
            values = plain(pairs.flatten(0, 1)).view(5, 7, E)
        else:
            constant, slope = norm(slopes, constants, items)
            values = constant[:, None] + slope[:, None] * items[None]
        gradients = torch.autograd.grad(
            (values * aims).sum(), [slopes, constants, items, norm.weight, norm.bias]
        )
        found.append([values, *gradients, norm.running_mean, norm.running_var])
    for mine, theirs in zip(*found, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("case", ["dssm", "nfm"])
def test_a_batch_of_one_example_and_item_is_finite(case: str) -> None:
    _, model = make(case)
    tables = model.train().tables(vectors()[:2])  # type: ignore[operator]
    users = model.user_vectors(Users(torch.tensor([[0, 0, 0, 1]]), torch.tensor([1])), tables)  # type: ignore[operator]
    assert users.isfinite().all() and tables.items.isfinite().all()


def test_vbpr_computes_the_rows_of_a_batch_alone() -> None:
    _, model = make("vbpr-bias")
    items = torch.tensor([3, 9, 3])
    some, whole = model.tables_of(items), model.tables(None)  # type: ignore[operator]
    torch.testing.assert_close(some.items, whole.items[items])
    assert torch.equal(some.users, whole.users)


@pytest.mark.parametrize(
    ("name", "settings", "said"),
    [
        ("dssm", {"layers": -1}, "layers is -1; it must be at least 0"),
        ("youtubednn", {"layers": 0}, "layers is 0; it must be at least 1"),
        ("nfm", {"layers": 0}, "layers is 0; it must be at least 1"),
        ("deepfm", {"layers": 0}, "layers is 0; it must be at least 1"),
    ],
)
def test_a_setting_is_refused(name: str, settings: dict[str, Any], said: str) -> None:
    kind = GENERAL[name]
    with pytest.raises(Exception, match=f"recommender.kind {name}: {said}"):
        kind.build(kind.settings(**settings), users=S, items=N, embedding_dim=E, max_len=L)


def test_an_odd_width_and_too_long_histories_are_refused() -> None:
    with pytest.raises(ValueError, match="it must be even"):
        GENERAL["vbpr"].model(users=S, items=N, embedding_dim=5)
    with pytest.raises(ValueError, match="5 inputs, but DeepFM has weights for 4"):
        scores_of("deepfm", F.pad(HISTORIES, (1, 0)))
