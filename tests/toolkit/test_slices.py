"""Slices of the targets against hand-made logs."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from toolkit import metrics
from toolkit.histories import UserHistories
from toolkit.slices import Slice, least_count, measure_slices, slices_of
from toolkit.splits import split_histories


def test_targets_fall_into_the_slices_that_their_definitions_name() -> None:
    # The targets of test are 1 (trained six times), 2 (three), 3 (once) and 9 (never), after 4, 4, 6 and 8 interactions.
    log = [
        [1, 1, 1, 7, 1],
        [1, 1, 1, 7, 2],
        [2, 2, 2, 3, 5, 7, 3],
        [4, 4, 5, 5, 6, 6, 8, 8, 9],
    ]
    bounds = np.cumsum([0, *map(len, log)])
    times = np.arange(bounds[-1], dtype=np.int64)
    histories = UserHistories(np.concatenate(log).astype(np.int32), bounds, list("abcd"), times)
    made = split_histories(histories, items=9, protocol="clean")
    assert made.test.targets.tolist() == [1, 2, 3, 9]
    counts = made.train_counts.tolist()
    assert [counts[item] for item in (1, 2, 3, 9)] == [6, 3, 1, 0] and sum(counts) == 18
    found = {
        one.name: one.holds.tolist() for one in slices_of(made.test, made.train_counts, histories)
    }
    assert found == {
        "warm": [True, True, True, False],
        "cold": [False, False, False, True],
        "popular": [True, True, False, False],  # 6 and 3 are half of 18
        "tail": [False, False, True, True],  # 6 + 3 + 2 + 2 + 2 are 80 %
        "recent": [False, False, False, True],
        "short": [True, True, False, False],
        "medium": [False, False, True, False],
        "long": [False, False, False, True],
    }
    without = slices_of(made.test, made.train_counts, histories._replace(times=None))
    assert "recent" not in {one.name for one in without}


def test_the_slices_of_a_partition_add_up() -> None:
    rng = np.random.default_rng(0)
    log = [rng.integers(1, 40, size=rng.integers(5, 30)) for _ in range(80)]
    bounds = np.cumsum([0, *map(len, log)])
    histories = UserHistories(
        np.concatenate(log).astype(np.int32), bounds, [f"u{u}" for u in range(80)]
    )
    made = split_histories(histories, items=40, protocol="clean")
    ranks = rng.integers(1, 40, size=80).astype(float)
    parts = measure_slices(
        slices_of(made.test, made.train_counts, histories), ranks, made.test.users
    )
    whole = metrics.summarise(ranks)["NDCG@10"]["value"]
    for names in (("warm", "cold"), ("short", "medium", "long")):
        present = [parts[name] for name in names if name in parts]
        assert sum(part["users"] for part in present) == 80
        mean = sum(part["users"] * part["metrics"]["NDCG@10"]["value"] for part in present) / 80
        assert mean == pytest.approx(whole)


def test_a_user_counts_once_in_a_slice() -> None:
    slices = [
        Slice("some", "some targets", np.array([True, True, False, True])),
        Slice("none", "no target", np.zeros(4, dtype=bool)),
    ]
    found = measure_slices(slices, [1.0, 99.0, 1.0, 1.0], np.array([0, 0, 0, 1]))
    assert set(found) == {"some"}
    assert found["some"]["users"] == 2 and found["some"]["targets"] == 3
    assert found["some"]["metrics"]["HR@10"]["value"] == (1 / 2 + 1) / 2


def test_the_bounds_of_popularity_belong_to_the_popular_side() -> None:
    """Of ten interactions, item 1 has six, item 3 three and item 2 one: half is item 1, 80 % are items 1 and 3."""
    evaluation: Any = SimpleNamespace(targets=np.array([1, 2, 3, 4], np.int32), stops=np.arange(4))
    histories = UserHistories(np.ones(4, np.int32), np.array([0, 4]), ["u"])
    made = slices_of(evaluation, np.array([0, 6, 1, 3, 0]), histories)
    holds = {one.name: one.holds.tolist() for one in made}
    assert holds["popular"] == [True, False, False, False]
    assert holds["tail"] == [False, True, False, True]


def test_items_with_equal_counts_are_on_one_side() -> None:
    assert least_count(np.array([0, 5, 5, 5, 5]), 0.5) == 5
    assert least_count(np.array([0, 9, 1]), 0.9) == 9
