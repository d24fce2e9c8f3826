"""Proposals of trials: they depend on the seed and the trials before, and on nothing else."""

import sys
from typing import Any

import pytest

from models.study.plan import Range, Space
from models.study.proposals import Tried, count_trials, propose
from toolkit import UserError

SPACE: Space = {"rate": Range(1e-4, 1e-1, log=True), "towers": [["title"], ["title", "cover"]],
                "layers": Range(1, 4, int=True)}  # fmt: skip


def search(sampler: str, seed: str = "1", count: int = 8, value: Any = None) -> list[Tried]:
    """Trials whose value is best for a rate of 1e-2; every fourth fails."""
    value = value or (lambda rate: 1 - abs(rate - 1e-2))
    trials: list[Tried] = []
    for number in range(count):
        settings = propose(SPACE, trials, number=number, trials=count, sampler=sampler, seed=seed)
        failed = number % 4 == 3
        trials.append(Tried(settings, None if failed else value(settings["rate"])))
    return trials


@pytest.mark.parametrize("sampler", ["random", "tpe"])
def test_a_resumed_search_proposes_the_same(sampler: str) -> None:
    whole = search(sampler)
    for number in range(len(whole)):
        again = propose(SPACE, whole[:number], number=number, trials=8, sampler=sampler, seed="1")
        assert again == whole[number].settings
    assert search(sampler, seed="2") != whole


@pytest.mark.parametrize("sampler", ["random", "tpe"])
def test_proposals_are_of_the_space_and_distinct(sampler: str) -> None:
    found = [trial.settings for trial in search(sampler)]
    assert all(1e-4 <= settings["rate"] <= 1e-1 for settings in found)
    assert all(settings["towers"] in (["title"], ["title", "cover"]) for settings in found)
    assert all(type(s["layers"]) is int and 1 <= s["layers"] <= 4 for s in found)
    assert len({str(settings) for settings in found}) == len(found)


def test_tpe_learns_from_values_and_random_does_not() -> None:
    def best_is_small(rate: float) -> float:
        return -rate

    assert search("random", value=best_is_small)[-1].settings == search("random")[-1].settings
    assert search("tpe", value=best_is_small)[-1].settings != search("tpe")[-1].settings


def test_a_small_space_is_searched_completely() -> None:
    space: Space = {"a": [1, 2], "b": [True, False]}
    assert count_trials(space, 6) == 4 and count_trials({}, 6) == 1
    found = [propose(space, [], number=n, trials=6, sampler="tpe", seed="1") for n in range(4)]
    assert found == [{"a": a, "b": b} for a in (1, 2) for b in (True, False)]
    assert propose({}, [], number=0, trials=6, sampler="random", seed="1") == {}


def test_trials_of_an_older_space_are_not_learnt_from() -> None:
    old = [Tried({"rate": 5.0, "towers": ["title"], "layers": 9}, 1.0), Tried({"other": 1}, 1.0)]
    new = propose(SPACE, old, number=2, trials=8, sampler="tpe", seed="1")
    assert new == propose(SPACE, [], number=2, trials=8, sampler="tpe", seed="1")


def test_a_search_without_optuna_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(UserError, match=r'pip install "versa-toolkit\[study\]"'):
        search("random")
