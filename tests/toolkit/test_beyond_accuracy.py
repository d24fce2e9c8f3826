"""Metrics beyond accuracy: hand fractions, values of RecTools, slow references, and controls."""

import math
from itertools import combinations

import numpy as np
import pytest

from toolkit import beyond_accuracy as beyond

# Users a, b, c and d in training, and the lists of users u, v, w and x. `benchmarks/rectools_values.py` prints the values
# that RecTools 0.19 has for the same tables.
TRAIN = np.array([[1, 2, 1], [0, 1, 3], [0, 1, 2], [4, 4, 1]])
LISTS = np.array([[1, 2, 5], [4, 3, 0], [2, 4, 3], [6, 1, 2]], np.int32)
TARGETS = np.array([5, 4, 1, 2])
VECTORS = np.array([[0, 0], [1, 0], [0, 1], [-1, 0], [3, 0], [0, 0], [1, 1]], float)
CATALOGUE = np.arange(1, 9)  # items 7 and 8 are in no list
COUNTS = beyond.training_counts(TRAIN, items=8)
PER_USER = {
    "popularity": [(5 + 2 + 0) / 3, (2 + 1) / 2, (2 + 2 + 1) / 3, (0 + 5 + 2) / 3],
    # 4, 2, 1 and 1 of 4 users know items 1 to 4; an unknown item counts as known to one.
    "novelty": [(0 + 1 + 2) / 3, (2 + 2) / 2, (1 + 2 + 2) / 3, (2 + 0 + 1) / 3],
    # u: unknown item at rank 3, 6/8 - 0; v: 8/8 at rank 1, and 7/8 by popularity; x: 6/8 is less than 7/8.
    "serendipity": [6 / 8 / 3, (8 / 8 - 7 / 8) / 2, 0, 0],
    # Item 5 has no content. x: two pairs at 45 degrees, one at 90.
    "diversity": [1, 2, (1 + 1 + 2) / 3, 1 - math.sqrt(2) / 3],
}


def per_user(lists: np.ndarray = LISTS) -> dict[str, np.ndarray]:
    return {
        "popularity": beyond.popularity(lists, COUNTS.interactions),
        "novelty": beyond.novelty(lists, COUNTS.users, all_users=COUNTS.all_users),
        "serendipity": beyond.serendipity(lists, TARGETS, COUNTS.interactions, catalogue=8),
        "diversity": beyond.diversity(lists, lambda items: VECTORS[items]),
    }


def test_counts_are_of_interactions_and_of_distinct_users() -> None:
    assert COUNTS.interactions.tolist() == [0, 5, 2, 1, 2, 0, 0, 0, 0]
    assert COUNTS.users.tolist() == [0, 4, 2, 1, 1, 0, 0, 0, 0]
    assert COUNTS.all_users == 4
    assert beyond.training_counts(np.array([[0, 0], [0, 1]]), items=1).all_users == 1


@pytest.mark.parametrize("name", PER_USER)
def test_values_equal_hand_fractions(name: str) -> None:
    assert per_user()[name] == pytest.approx(PER_USER[name], abs=1e-12)


def test_values_equal_those_of_rectools_at_every_cutoff() -> None:
    rectools = {
        1: (0.5, [5, 2, 2, 0], [0, 2, 1, 2], [0, 0.125, 0, 0], [0, 0, 0, 0]),
        2: (0.625, [3.5, 1.5, 2, 2.5], [0.5, 2, 1.5, 1], [0, 0.0625, 0, 0],
            [1, 2, 1, 0.29289321881345254]),
        3: (0.75, [2.3333333333333335, 1.5, 1.6666666666666667, 2.3333333333333335],
            [1, 2, 1.6666666666666667, 1], [0.25, 0.0625, 0, 0],
            [1, 2, 1.3333333333333333, 0.5285954792089683]),
    }  # fmt: skip
    for k, (coverage, *expected) in rectools.items():
        lists = LISTS[:, :k]
        assert beyond.coverage(lists, catalogue=8) == coverage
        for name, values in zip(PER_USER, expected, strict=True):
            assert per_user(lists)[name] == pytest.approx(values, abs=1e-12), f"{name}@{k}"


def test_the_summary_has_means_over_users_with_their_intervals() -> None:
    summary = beyond.summarise(
        LISTS, TARGETS, COUNTS, catalogue=CATALOGUE, vectors=lambda items: VECTORS[items]
    )
    assert summary["coverage@3"] == 6 / 8
    assert list(summary) == ["coverage@3", *(f"{name}@3" for name in PER_USER)]
    for name, values in PER_USER.items():
        result = summary[f"{name}@3"]
        assert isinstance(result, dict)
        half = 1.959964 * np.std(values, ddof=1) / 2
        assert result["value"] == pytest.approx(np.mean(values))
        assert result["low"] == pytest.approx(max(0, np.mean(values) - half), abs=1e-6)
        most = {"serendipity": 1, "novelty": 2, "diversity": 2}.get(name, math.inf)
        assert result["high"] == pytest.approx(min(most, np.mean(values) + half), abs=1e-6)


def test_users_without_a_value_are_left_out_and_so_is_a_metric_without_any() -> None:
    lists = np.array([[0, 0], [5, 8], [1, 0]])  # empty; no content; one item
    targets = np.array([1, 1, 1])
    vectors = np.vstack([VECTORS, np.zeros((2, 2))])
    assert np.isnan(beyond.popularity(lists, COUNTS.interactions)).tolist() == [True, False, False]
    found = beyond.diversity(lists, lambda items: vectors[items])
    assert np.isnan(found).tolist() == [True, True, False]
    assert found[2] == 0
    summary = beyond.summarise(lists[:1], targets[:1], COUNTS, catalogue=CATALOGUE)
    assert summary == {"coverage@2": 0}
    assert "diversity@2" not in beyond.summarise(
        lists[:2], targets[:2], COUNTS, catalogue=CATALOGUE, vectors=lambda items: vectors[items]
    )


def test_a_user_with_several_lists_counts_once() -> None:
    users = np.array([0, 0, 0, 1])
    found = beyond.summarise(LISTS, TARGETS, COUNTS, catalogue=CATALOGUE, users=users)
    for name in ("popularity", "novelty", "serendipity"):
        result, values = found[f"{name}@3"], PER_USER[name]
        assert isinstance(result, dict)
        assert result["value"] == pytest.approx((np.mean(values[:3]) + values[3]) / 2)


def test_targets_that_no_list_can_have_have_no_serendipity() -> None:
    some, none = np.array([1, 2, 3, 4, 6, 7]), np.array([3, 6, 7, 8])
    found = beyond.summarise(LISTS, TARGETS, COUNTS, catalogue=some)["serendipity@3"]
    assert isinstance(found, dict)  # without the first user, whose target is item 5
    assert found["value"] == pytest.approx((1 - 5 / 6) / 2 / 3)
    assert "serendipity@3" not in beyond.summarise(LISTS, TARGETS, COUNTS, catalogue=none)


def test_metrics_equal_slow_references_across_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(beyond, "_LISTS_AT_ONCE", 7)
    rng = np.random.default_rng(0)
    train = rng.integers(0, 31, size=(50, 6))
    vectors = np.vstack([np.zeros(4), rng.normal(size=(30, 4))])
    lists = np.array([rng.permutation(30)[:5] + 1 for _ in range(20)])
    lists[3, 3:] = 0
    targets = lists[np.arange(20), rng.integers(0, 3, 20)]
    counts = beyond.training_counts(train, items=30)
    users = [{item for item in row if item} for row in train.tolist()]
    novelty, serendipity, diversity = [], [], []
    order = sorted({int((train == item).sum()) for item in range(1, 31)}, reverse=True)
    for row, target in zip(lists.tolist(), targets.tolist(), strict=True):
        items = [item for item in row if item]
        known = [max(1, sum(item in user for user in users)) for item in items]
        novelty.append(np.mean([-math.log2(n / sum(map(bool, users))) for n in known]))
        place = order.index(int((train == target).sum())) + 1
        gain = (31 - 1 - items.index(target)) / 30 - (31 - place) / 30
        serendipity.append(max(0, gain) / len(items))
        pairs = [(vectors[a], vectors[b]) for a, b in combinations(items, 2)]
        diversity.append(np.mean([1 - a @ b / np.sqrt((a @ a) * (b @ b)) for a, b in pairs]))
    assert (train[train > 0].size, sum(map(len, users))) == (
        counts.interactions.sum(),
        counts.users.sum(),
    )
    assert beyond.novelty(lists, counts.users, all_users=counts.all_users) == pytest.approx(novelty)
    assert beyond.serendipity(lists, targets, counts.interactions, catalogue=30) == pytest.approx(
        serendipity
    )
    assert beyond.diversity(lists, lambda items: vectors[items]) == pytest.approx(diversity)


def test_popular_lists_have_the_lowest_novelty_and_random_lists_cover_the_catalogue() -> None:
    rng = np.random.default_rng(1)
    train = np.minimum(rng.geometric(0.05, size=(400, 8)), 100)
    counts = beyond.training_counts(train, items=100)
    by_popularity = np.argsort(-counts.interactions[1:], kind="stable") + 1
    lists = {
        "popular": np.tile(by_popularity[:10], (300, 1)),
        "constant": np.tile(by_popularity[40:50], (300, 1)),
        "random": np.array([rng.permutation(100)[:10] + 1 for _ in range(300)]),
    }
    targets = rng.integers(1, 101, 300)
    found = {
        name: beyond.summarise(rows, targets, counts, catalogue=np.arange(1, 101))
        for name, rows in lists.items()
    }
    value = {
        n: {k: r if isinstance(r, float) else r["value"] for k, r in f.items()}
        for n, f in found.items()
    }
    assert value["popular"]["coverage@10"] == value["constant"]["coverage@10"] == 0.1
    assert value["random"]["coverage@10"] == 1
    assert value["popular"]["novelty@10"] < min(
        value[n]["novelty@10"] for n in ("constant", "random")
    )
    assert (
        value["popular"]["popularity@10"]
        > value["random"]["popularity@10"]
        > value["constant"]["popularity@10"]
    )
    chance = counts.interactions[1:].mean()
    random = found["random"]["popularity@10"]
    assert isinstance(random, dict)
    assert random["low"] <= chance <= random["high"]
    # Items at ranks 1..10 of both orders gain only where ties share a rank by popularity.
    assert value["popular"]["serendipity@10"] < value["random"]["serendipity@10"]


def test_diversity_is_bounded_and_does_not_depend_on_lengths() -> None:
    alike = np.tile([0.3, 0.1], (11, 1)) * np.arange(11)[:, None]
    lists = np.arange(1, 11)[None]
    assert beyond.diversity(lists, lambda items: alike[items]) == pytest.approx([0], abs=1e-12)
    opposite = np.array([[0, 0], [1, 0], [-5, 0]])
    assert beyond.diversity(np.array([[1, 2]]), lambda items: opposite[items]).tolist() == [2]
