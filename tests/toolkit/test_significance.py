"""The paired test: exact by enumeration, uniform without a difference, and sensitive to a real one."""

import itertools

import numpy as np
import pytest

from toolkit import metrics, significance
from toolkit.significance import paired_test


def all_flips(differences: np.ndarray) -> float:
    """The exact p-value: the share of all 2^N choices of signs whose mean is as far from 0."""
    signs = np.array(list(itertools.product((-1, 1), repeat=len(differences))))
    far = np.abs((signs * differences).mean(axis=1))
    return float((far >= abs(differences.mean()) - 1e-12).mean())


@pytest.mark.parametrize(
    "differences",
    [
        [1.0, 1.0, 1.0, 1.0, 1.0],  # 2 of 32
        [0.5, -0.25, 0.0, 1.0, 0.75, 0.0],
        [0.1, 0.2, 0.3, -0.6],  # 0.1 + 0.2 + 0.3 is no 0.6: ties by rounding count
        [1, 1, 0, -1, 0, 1, 0, 1, 1, -1, 0, 1],
        np.random.default_rng(3).normal(0.4, size=12).tolist(),
    ],
)
def test_p_values_equal_those_of_all_flips(differences: list[float]) -> None:
    exact, rounds = all_flips(np.array(differences)), 200_000
    found = paired_test(np.zeros(len(differences)), differences, rounds=rounds)
    assert found.difference == pytest.approx(np.mean(differences))
    assert abs(found.p_value - exact) < 5 * np.sqrt(exact * (1 - exact) / rounds) + 1e-4


def test_five_users_that_all_gain_are_two_flips_of_32() -> None:
    assert all_flips(np.ones(5)) == 2 / 32


def test_a_p_value_is_never_0() -> None:
    assert paired_test(np.zeros(400), np.ones(400), rounds=99).p_value == 1 / 100


def test_where_nothing_differs_p_values_are_uniform() -> None:
    rng = np.random.default_rng(0)
    samples = 600
    pairs = ((rng.normal(size=30), rng.normal(size=30)) for _ in range(samples))
    found = np.array(
        [paired_test(a, b, rounds=399, seed=i).p_value for i, (a, b) in enumerate(pairs)]
    )
    for level in (0.05, 0.1, 0.25, 0.5, 0.75, 0.9):
        spread = np.sqrt(level * (1 - level) / samples)
        assert abs((found <= level).mean() - level) < 4 * spread


def test_intervals_cover_the_truth_in_about_95_of_100_samples() -> None:
    rng = np.random.default_rng(1)
    population = metrics.ndcg(rng.integers(1, 60, size=100_000), 10)
    other = metrics.ndcg(rng.integers(1, 40, size=100_000), 10)
    truth, covered = (other - population).mean(), 0
    for sample in range(400):
        users = rng.integers(len(population), size=300)
        found = paired_test(population[users], other[users], rounds=400, seed=sample)
        covered += found.low <= truth <= found.high
    assert 0.92 <= covered / 400 <= 0.975


def test_the_bootstrap_is_that_of_users_drawn_one_by_one() -> None:
    rng = np.random.default_rng(2)
    a, b = metrics.hit_rate(rng.integers(1, 30, 200), 10), metrics.mrr(rng.integers(1, 20, 200), 10)
    means = [(b - a)[rng.integers(200, size=200)].mean() for _ in range(20_000)]
    found = paired_test(a, b, rounds=20_000)
    low, high = np.quantile(means, [0.025, 0.975])
    # The spread of a 2.5% quantile over 20,000 rounds is about 2% of the interval's half.
    assert (found.low, found.high) == pytest.approx((low, high), abs=0.1 * (high - low) / 2)


def test_a_planted_difference_is_found_in_the_right_direction() -> None:
    rng = np.random.default_rng(4)
    worse = metrics.hit_rate(rng.integers(1, 100, size=20_000), 10)  # 10 of 99 hit
    gained = (worse == 0) & (rng.random(20_000) < 0.01)
    found = paired_test(worse, worse + gained)
    assert found.low <= gained.mean() <= found.high and found.low > 0
    assert found.p_value == 1 / 10_001
    back = paired_test(worse + gained, worse)
    assert back.difference == -found.difference and back.high < 0


def test_the_seed_decides_and_the_global_generator_is_left_alone() -> None:
    rng = np.random.default_rng(5)
    a, b = rng.normal(size=(2, 50))
    before = np.random.get_state()[1].tolist()  # type: ignore[index,union-attr]
    assert paired_test(a, b, seed=1) == paired_test(a, b, seed=1)
    assert paired_test(a, b, seed=1) != paired_test(a, b, seed=2)
    assert np.random.get_state()[1].tolist() == before  # type: ignore[index,union-attr]


def test_rounds_are_drawn_a_few_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    a, b = np.random.default_rng(6).normal(size=(2, 40))
    whole = paired_test(a, b, rounds=1000)
    monkeypatch.setattr(significance, "_AT_ONCE", 40 * 7)
    assert paired_test(a, b, rounds=1000) == pytest.approx(whole)


@pytest.mark.parametrize(
    ("a", "b", "message"),
    [
        ([1.0, 2.0], [1.0], r"shapes \(2,\) and \(1,\)"),
        ([], [], "one value per user"),
        ([[1.0]], [[1.0]], r"shapes \(1, 1\)"),
        ([1.0, float("nan")], [1.0, 2.0], "finite; those of user 1 are nan and 2.0"),
        ([1.0], [float("inf")], "finite; those of user 0 are 1.0 and inf"),
    ],
)
def test_values_that_cannot_be_compared_are_refused(
    a: list[float], b: list[float], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        paired_test(a, b)


def test_a_test_needs_a_round() -> None:
    with pytest.raises(ValueError, match="rounds must be at least 1, got 0"):
        paired_test([1.0], [2.0], rounds=0)
