"""Popularity, item-kNN and EASE against slow references from their equations."""

import numpy as np
import psutil
import pytest
import torch
from numpy.typing import NDArray
from tastes import CHANCE, ITEMS, block_tastes, hit_rate, no_tastes, splits_of
from torch import Tensor, nn

from models.general.cease import Cease
from models.general.ease import Ease, EaseSettings
from models.general.histories import newest_occurrences
from models.general.item_knn import ItemKnn
from models.general.kind import observe
from models.general.popularity import Popularity
from models.general.recommender import GeneralRecommender
from models.inputs.interactions import Interactions
from models.inputs.users import Users
from toolkit import UserError

N = 9
TRAIN = np.array(
    [[0, 1, 2, 3], [1, 2, 1, 4], [0, 0, 5, 2], [3, 4, 5, 1]], dtype=np.int32
)  # 6 to 9 are unknown
HISTORIES = torch.tensor([[0, 1, 2], [5, 5, 4], [6, 0, 3], [0, 0, 7]])


def fitted(model: nn.Module, train: NDArray[np.int32] = TRAIN, items: int = N) -> nn.Module:
    observe(model, Interactions.of(splits_of(train, items)))
    return model


def scores_of(model: nn.Module, histories: Tensor = HISTORIES) -> Tensor:
    """(B, N + 1)."""
    tables = model.tables(None)
    users = model.user_vectors(Users(histories), tables)
    own = getattr(model, "scores", None)
    return users @ tables.items.T if own is None else own(users, tables.items)


def binary() -> NDArray[np.float64]:
    matrix = np.zeros((len(TRAIN), N + 1))
    for user, items in enumerate(TRAIN):
        matrix[user, items[items > 0]] = 1
    return matrix


def test_interactions_are_those_of_the_training_sequences() -> None:
    interactions = Interactions.of(splits_of(TRAIN, N))
    assert interactions.users.tolist() == [1, 1, 1, 2, 2, 2, 2, 3, 3, 4, 4, 4, 4]
    assert interactions.items.tolist() == [1, 2, 3, 1, 2, 1, 4, 5, 2, 3, 4, 5, 1]
    assert interactions.positions.tolist() == [0, 1, 2, 0, 1, 2, 3, 0, 1, 0, 1, 2, 3]
    np.testing.assert_array_equal(interactions.matrix().toarray()[1:], binary())


def test_popularity_counts_every_interaction() -> None:
    expected = [[0, 4, 3, 2, 2, 2, 0, 0, 0, 0]] * len(HISTORIES)
    assert scores_of(fitted(Popularity(items=N))).tolist() == expected


def test_newest_occurrences_of_any_history() -> None:
    histories = torch.randint(0, 5, (200, 8), generator=torch.Generator().manual_seed(0))
    newest = newest_occurrences(histories)
    for row, kept in zip(histories.tolist(), newest.tolist(), strict=True):
        assert kept == [item != 0 and item not in row[i + 1 :] for i, item in enumerate(row)]


@pytest.mark.parametrize("recency", [1.0, 0.5])
@pytest.mark.parametrize("shrink", [0.0, 3.0])
def test_item_knn(shrink: float, recency: float) -> None:
    """All neighbours: the sum over the distinct items of a history, weighted by the age of their newest occurrence."""
    together = binary().T @ binary()
    counts = np.diag(together)
    unknown = (counts == 0)[:, None] | (counts == 0)
    similarity = together / (np.sqrt(np.outer(counts, counts)) + shrink + unknown)
    np.fill_diagonal(similarity, 0)
    expected = np.zeros((len(HISTORIES), N + 1))
    for row, history in enumerate(HISTORIES.tolist()):
        for age, item in enumerate(reversed(history)):
            if item and item not in history[len(history) - age :]:
                expected[row] += recency**age * similarity[item]
    model = fitted(ItemKnn(items=N, neighbours=20, shrink=shrink, recency=recency))
    np.testing.assert_allclose(scores_of(model).numpy(), expected, rtol=1e-6)


def test_item_knn_keeps_the_most_similar() -> None:
    """Item 1 has three users, of whom items 3 and 4 share two of their two, and item 2 two of its three."""
    model = fitted(ItemKnn(items=N, neighbours=2))
    assert model.similar[1].tolist() == [3, 4]
    assert scores_of(model, torch.tensor([[0, 0, 1]]))[0, 2] == 0


def least_squares(x: NDArray[np.float64], regularisation: float) -> NDArray[np.float64]:
    """B by its definition: the least-squares problem of each column, with a zero on the diagonal."""
    weights = np.zeros((N + 1, N + 1))
    for j in range(N + 1):
        others = [i for i in range(N + 1) if i != j]
        gram = x[:, others].T @ x[:, others] + regularisation * np.eye(N)
        weights[others, j] = np.linalg.solve(gram, x[:, others].T @ x[:, j])
    return weights


def test_ease_solves_the_least_squares_problem_without_the_diagonal() -> None:
    weights = least_squares(binary(), 2.0)
    chosen = np.zeros((len(HISTORIES), N + 1))
    for row, history in enumerate(HISTORIES.tolist()):
        chosen[row, [item for item in history if item]] = 1
    expected = chosen @ weights
    np.testing.assert_allclose(
        scores_of(fitted(Ease(items=N, regularisation=2.0))).numpy(), expected, atol=1e-6
    )


def test_ease_of_low_rank_is_ease_of_the_truncated_decomposition() -> None:
    """B = -P / diag(P) with zeros on the diagonal, where P has the r largest singular values of X."""
    train, _ = block_tastes()
    histories = torch.from_numpy(train[:20].astype(np.int64))
    interactions = Interactions.of(splits_of(train))
    matrix = interactions.matrix().toarray()[1:]
    _, values, vectors = np.linalg.svd(matrix.astype(np.float64), full_matrices=False)
    kept = values[:40] ** 2
    truncated = np.eye(ITEMS + 1) - vectors[:40].T @ np.diag(kept / (kept + 5.0)) @ vectors[:40]
    weights = -truncated / np.diag(truncated)
    np.fill_diagonal(weights, 0)
    expected = np.zeros((len(histories), ITEMS + 1))
    for row, history in enumerate(histories.tolist()):
        expected[row] = weights[sorted({item for item in history if item})].sum(0)
    model = fitted(Ease(items=ITEMS, regularisation=5.0, rank=40), train, ITEMS)
    np.testing.assert_allclose(scores_of(model, histories).numpy(), expected, atol=1e-5)


def test_cease_solves_the_least_squares_problem_of_interactions_and_content() -> None:
    """Each column is fitted from the others; item 9 has no interactions, and the content of item 2."""
    features = torch.randn(N + 1, 4, generator=torch.Generator().manual_seed(0))
    features[0] = features[6] = 0  # padding, and an item without content
    features[9] = features[2]
    model = Cease(items=N, regularisation=2.0, content_weight=3.0)
    observe(model, Interactions.of(splits_of(TRAIN, N)), {"title": features})
    rows = features.double().numpy()
    centred = rows - rows[rows.any(1)].mean(0)
    centred[~rows.any(1)] = 0
    unit = centred / np.maximum(np.linalg.norm(centred, axis=1, keepdims=True), 1e-12)
    x = np.vstack([binary(), 3.0**0.5 * unit.T])
    weights = least_squares(x, 2.0)
    chosen = np.zeros((len(HISTORIES), N + 1))
    for row, history in enumerate(HISTORIES.tolist()):
        chosen[row, [item for item in history if item]] = 1
    scores = scores_of(model)
    np.testing.assert_allclose(scores[:, 1:].numpy(), (chosen @ weights)[:, 1:], atol=1e-5)
    assert (scores[:, 0] == 0).all()
    assert scores[0, 9] > scores[0, 6] - 1e-6


def test_weights_that_do_not_fit_into_memory_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    free = type("Memory", (), {"available": 100})
    monkeypatch.setattr(psutil, "virtual_memory", free)
    with pytest.raises(UserError, match=r"between 5 items take .* GiB .* --recommender.rank 512"):
        fitted(Ease(items=N))
    with pytest.raises(UserError, match="rank is -1"):
        EaseSettings(rank=-1)


@pytest.mark.parametrize(
    "make", [lambda: ItemKnn(items=ITEMS), lambda: Ease(items=ITEMS, regularisation=30.0)]
)
def test_tastes_are_found_and_chance_is_not_exceeded(make: object) -> None:
    for tastes, low, high in ((block_tastes, 0.9, 1.0), (no_tastes, 0.0, 3 * CHANCE)):
        train, targets = tastes()
        recommender = GeneralRecommender(fitted(make(), train, ITEMS))  # type: ignore[operator]
        assert low <= hit_rate(recommender, train, targets) <= high
