"""Statistics of a study on hand-computed values."""

import numpy as np
import pytest

from models.study.statistics import describe, gains, paired_tests, sensitivity
from models.study.tables import sensitivity_sentences
from toolkit.metrics import summarise
from toolkit.significance import paired_test

USERS = np.arange(4)


def test_one_seed_is_as_the_metrics_files_have_it() -> None:
    ranks = np.array([[1.0, 12.0, 3.0, np.inf]])
    found, expected = describe(ranks, USERS), summarise(ranks[0])
    assert found.keys() == expected.keys()
    for name, metric in expected.items():
        assert {key: found[name][key] for key in metric} == metric
        assert found[name]["std"] is None and found[name]["seeds"] == [metric["value"]]


def test_several_seeds_are_means_of_users_and_their_spread() -> None:
    """HR@10 of four users: 1, 1/2, 1/2, 0; so 1/2 ± 1.96·√(1/6)/2. Of the seeds: 3/4 and 1/4."""
    ranks = np.array([[1.0, 2.0, 3.0, 50.0], [4.0, 99.0, 99.0, 99.0]])
    found = describe(ranks, USERS)["HR@10"]
    half = 1.959963984540054 * (1 / 6) ** 0.5 / 2
    assert found["value"] == 0.5 and found["seeds"] == [0.75, 0.25]
    assert found["low"] == pytest.approx(0.5 - half) and found["high"] == pytest.approx(0.5 + half)
    assert found["std"] == pytest.approx(0.125**0.5)


def test_a_user_with_several_targets_counts_once() -> None:
    ranks, users = np.array([[1.0, 99.0, 1.0]]), np.array([0, 0, 1])
    assert gains("HR@10", ranks, users).tolist() == [[0.5, 1.0]]
    assert describe(ranks, users)["HR@10"]["value"] == 0.75


def test_methods_are_tested_against_the_first() -> None:
    rng = np.random.default_rng(0)
    users = {name: rng.random(50) + shift for name, shift in {"a": 0, "b": 0.4, "c": 0}.items()}
    found = paired_tests(users)
    assert list(found) == ["b", "c"]
    p = {name: paired_test(users["a"], users[name]).p_value for name in found}
    assert found["b"]["corrected_p_value"] == 2 * p["b"]  # Holm: the smallest of two times two
    assert found["c"]["corrected_p_value"] == max(p["c"], 2 * p["b"])


def constant(value: float, users: int = 40) -> np.ndarray:
    """Values of users with a mean, and noise that is the same for every method."""
    return value + np.random.default_rng(1).normal(scale=0.001, size=users)


def test_the_order_of_methods_by_protocol() -> None:
    """Orders abc and bac: of three pairs two agree, so tau = (2 - 1) / 3; abc and abc: 1; abc and cba: -1."""
    values = {
        "paper": {"a": 0.3, "b": 0.2, "c": 0.1},
        "clean": {"a": 0.2, "b": 0.3, "c": 0.1},
        "cold": {"a": 0.1, "b": 0.2, "c": 0.3},
        "same": {"a": 0.9, "b": 0.8, "c": 0.7},
    }
    users = {p: {n: constant(v) for n, v in methods.items()} for p, methods in values.items()}
    found = sensitivity(users)
    assert found["order"]["clean"] == ["b", "a", "c"]
    taus = {tuple(pair["protocols"]): pair["tau"] for pair in found["pairs"]}
    assert taus["paper", "clean"] == pytest.approx(1 / 3)
    assert taus["paper", "cold"] == pytest.approx(-1)
    assert taus["paper", "same"] == pytest.approx(1)
    swaps = {tuple(pair["protocols"]): pair["swaps"] for pair in found["pairs"]}
    assert [swap["methods"] for swap in swaps["paper", "clean"]] == [["a", "b"]]
    assert swaps["paper", "clean"][0]["significant"] and swaps["paper", "same"] == []
    assert len(swaps["paper", "cold"]) == 3
    sentences = sensitivity_sentences({"sensitivity": found})
    assert sentences[0] == (
        "paper and clean: Kendall's τ 0.33; the order of the methods differs: a and b swap (significant under both)."
    )
    assert sentences[2].endswith("τ 1.00; the order of the methods is the same.")


def test_a_swap_by_chance_is_not_significant() -> None:
    rng = np.random.default_rng(2)
    noise = rng.normal(size=(2, 30))
    users = {
        protocol: {"a": np.zeros(30), "b": sign * (values - values.mean() + 0.01)}
        for (protocol, sign), values in zip({"paper": 1, "clean": -1}.items(), noise, strict=True)
    }
    (pair,) = sensitivity(users)["pairs"]
    assert pair["tau"] == pytest.approx(-1) and not pair["swaps"][0]["significant"]


def test_one_method_has_no_order() -> None:
    (pair,) = sensitivity({"paper": {"a": constant(1)}, "clean": {"a": constant(2)}})["pairs"]
    assert pair["tau"] is None and pair["swaps"] == []
