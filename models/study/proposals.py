"""Proposes the settings of a trial from its number and the trials before it.

A proposal depends on the search seed and on the finished trials in their order, and on nothing else: not on time, on the
number of processes, or on an earlier call. So a resumed study proposes the same settings.
"""

import hashlib
import json
import warnings
from collections.abc import Mapping, Sequence
from itertools import product
from typing import Any, NamedTuple

from models.study.plan import Range, Space
from toolkit.errors import UserError

_ATTEMPTS = 100  # to propose settings that no earlier trial has
_RANDOM_TRIALS = 10  # at most so many, and at most half of all, before TPE learns from them


class Tried(NamedTuple):
    """A finished trial.

    Args:
        settings: searched settings by dotted key.
        value: validation metric; None if the trial failed.
    """

    settings: Mapping[str, Any]
    value: float | None


def count_trials(space: Space, trials: int) -> int:
    """The number of trials of a method: fewer than planned only if its space holds fewer settings."""
    grid = _grid(space)
    return trials if grid is None else min(trials, len(grid))


def propose(
    space: Space, before: Sequence[Tried], *, number: int, trials: int, sampler: str, seed: str
) -> dict[str, Any]:
    """The settings of a trial.

    A space of at most `trials` settings is searched completely, in its order. Otherwise Optuna samples: `random`
    independently of all values, `tpe` from the values of the trials before.

    Args:
        space: choices and ranges by dotted key.
        before: the trials before this one, in their order.
        number: number of the trial, from 0.
        trials: planned number of trials.
        sampler: `random` or `tpe`.
        seed: text that seeds the search.

    Raises:
        UserError: if Optuna is needed and is not installed.
    """
    if not needs_optuna(space, trials):
        return (_grid(space) or [])[number]
    known = [_text(trial.settings) for trial in before]
    proposal: dict[str, Any] = {}
    for attempt in range(_ATTEMPTS):
        digest = hashlib.sha256(f"{seed}/{number}/{attempt}".encode()).digest()
        proposal = _sampled(space, before, trials, sampler, int.from_bytes(digest[:4]))
        if _text(proposal) not in known:
            break
    return proposal


def needs_optuna(space: Space, trials: int) -> bool:
    """Whether trials of a space are sampled: it holds more settings than trials."""
    grid = _grid(space)
    return grid is None or len(grid) > trials


def _grid(space: Space) -> list[dict[str, Any]] | None:
    """All settings of a space, in order; None if it has a range, which holds too many."""
    if any(isinstance(values, Range) for values in space.values()):
        return None
    choices = [values for values in space.values() if not isinstance(values, Range)]
    return [dict(zip(space, values, strict=True)) for values in product(*choices)]


def _sampled(
    space: Space, before: Sequence[Tried], trials: int, sampler: str, seed: int
) -> dict[str, Any]:
    optuna = import_optuna()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        chosen = optuna.samplers.RandomSampler(seed=seed)
        if sampler == "tpe":
            first = min(_RANDOM_TRIALS, max(1, trials // 2))
            chosen = optuna.samplers.TPESampler(seed=seed, n_startup_trials=first)
        search = optuna.create_study(sampler=chosen, direction="maximize")
    distributions = {key: _distribution(optuna, values) for key, values in space.items()}
    for trial in before:
        if _fits(space, trial.settings):
            search.add_trial(_finished(optuna, space, distributions, trial))
    parameters = search.ask(distributions).params
    return {key: _value(space[key], parameters[key]) for key in space}


def import_optuna() -> Any:
    """Imports Optuna, without its messages.

    Raises:
        UserError: if it is not installed.
    """
    try:
        import optuna
    except ImportError as error:
        raise UserError(
            f'a search needs Optuna, which is not installed ({error}); run: pip install "versa-toolkit[study]"'
        ) from None
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return optuna


def _distribution(optuna: Any, values: "list[Any] | Range") -> Any:
    """A range, or a choice by its index: a choice may be a list, which Optuna does not accept."""
    if not isinstance(values, Range):
        return optuna.distributions.CategoricalDistribution(range(len(values)))
    if values.int:
        low, high = int(values.low), int(values.high)
        return optuna.distributions.IntDistribution(low, high, log=values.log)
    return optuna.distributions.FloatDistribution(values.low, values.high, log=values.log)


def _finished(optuna: Any, space: Space, distributions: dict[str, Any], trial: Tried) -> Any:
    parameters = {key: _parameter(space[key], value) for key, value in trial.settings.items()}
    state = optuna.trial.TrialState
    return optuna.trial.create_trial(
        params=parameters,
        distributions=distributions,
        value=trial.value,
        state=state.FAIL if trial.value is None else state.COMPLETE,
    )


def _fits(space: Space, settings: Mapping[str, Any]) -> bool:
    """Whether a trial is of this space; one from before an amendment may be of another."""
    return settings.keys() == space.keys() and all(
        values.holds(settings[key]) if isinstance(values, Range) else settings[key] in values
        for key, values in space.items()
    )


def _parameter(values: "list[Any] | Range", value: Any) -> Any:
    return value if isinstance(values, Range) else values.index(value)


def _value(values: "list[Any] | Range", parameter: Any) -> Any:
    return parameter if isinstance(values, Range) else values[parameter]


def _text(settings: Mapping[str, Any]) -> str:
    return json.dumps(settings, sort_keys=True)
