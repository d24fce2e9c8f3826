import math

import numpy as np
import pytest

from toolkit import metrics


def test_summary_equals_hand_fractions() -> None:
    summary = metrics.summarise([1, 2, 10, 10.5, 400])
    assert summary["HR@10"]["value"] == pytest.approx(3 / 5)
    assert summary["HR@20"]["value"] == pytest.approx(4 / 5)
    assert summary["MRR@5"]["value"] == pytest.approx((1 + 1 / 2) / 5)
    ndcg = (1 + 1 / math.log2(3) + 1 / math.log2(11)) / 5
    assert summary["NDCG@10"]["value"] == pytest.approx(ndcg)
    assert set(summary) == {f"{m}@{k}" for m in ("HR", "NDCG", "MRR") for k in (5, 10, 20, 50)}


@pytest.mark.parametrize("name", ["HR@10", "NDCG@10", "MRR@10"])
def test_intervals_cover_the_truth_in_about_95_of_100_samples(name: str) -> None:
    rng = np.random.default_rng(0)
    population = rng.integers(1, 60, size=200_000)
    truth = metrics.summarise(population)[name]["value"]
    covered = 0
    for _ in range(400):
        m = metrics.summarise(rng.choice(population, size=300))[name]
        covered += m["low"] <= truth <= m["high"]
    assert 0.92 <= covered / 400 <= 0.975


def test_an_interval_of_no_hit_still_has_width_and_stays_in_bounds() -> None:
    m = metrics.summarise([100] * 50)["HR@10"]
    assert m["value"] == m["low"] == 0.0
    assert m["high"] == pytest.approx(1.96**2 / (50 + 1.96**2), rel=1e-3)  # Wilson's at p = 0


@pytest.mark.parametrize("ranks", [[], [0.5], [float("nan")], [float("-inf")]])
def test_ranks_that_cannot_be_are_refused(ranks: list[float]) -> None:
    with pytest.raises(ValueError, match="rank"):
        metrics.summarise(ranks)


def test_what_could_not_be_found_is_no_hit_at_any_cutoff() -> None:
    found = metrics.summarise([float("inf"), 1.0], cutoffs=(10, 10**9))
    assert {m["value"] for m in found.values()} == {0.5}
