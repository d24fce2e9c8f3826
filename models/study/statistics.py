"""Statistics of a study: means over seeds and users, paired tests of methods, and the order of methods by protocol.

R seeds, S users, T targets. A user's value is the mean over seeds, so that tests and intervals are over users and seeds count once.
"""

from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import kendalltau  # type: ignore[import-untyped]

from toolkit.metrics import CUTOFFS, METRICS, metric_at, normal_interval, summarise, values_of_users
from toolkit.significance import holm, paired_test, paired_tests_against_first

Floats = NDArray[np.float64]
LEVEL = 0.05


def gains(metric: str, ranks: Floats, users: NDArray[np.int64]) -> Floats:
    """A metric of each user and seed, (R, S): a user's mean over the targets.

    Args:
        metric: such as `NDCG@10`.
        ranks: (R, T) rank of each target under each seed.
        users: (T,) index of each target's user.
    """
    return np.stack([values_of_users(metric, of_seed, users) for of_seed in ranks])


def describe(ranks: Floats, users: NDArray[np.int64]) -> dict[str, dict[str, Any]]:
    """Every metric as `metrics/test.json` has them, with the spread over seeds.

    `value` is the mean over seeds and users. `low` and `high` are the 95% interval over users of a user's mean over seeds:
    that of `toolkit.metrics.summarise` for one seed, else mean ± 1.96·s/√S, within [0, 1]. `seeds` has the value of each
    seed, and `std` their standard deviation (with R - 1), None for one seed.
    """
    found: dict[str, dict[str, Any]] = {}
    for name in (f"{kind}@{cutoff}" for kind in METRICS for cutoff in CUTOFFS):
        values = gains(name, ranks, users)
        by_seed = values.mean(axis=1)
        interval = summarise(ranks[0], [metric_at(name)[1]], users=users)[name]
        if len(ranks) > 1:
            interval = _interval(values.mean(axis=0))
        std = float(by_seed.std(ddof=1)) if len(ranks) > 1 else None
        found[name] = {**interval, "std": std, "seeds": [float(value) for value in by_seed]}
    return found


def _interval(users: Floats) -> dict[str, float]:
    low, high = normal_interval(users, most=1.0)
    return {"value": float(users.mean()), "low": low, "high": high}


def paired_tests(users: Mapping[str, Floats]) -> dict[str, dict[str, float]]:
    """Paired tests of every other method against the first, with Holm's correction over the methods.

    Args:
        users: by method, the metric of each user, (S,), users in the same order.

    Returns:
        By method: difference, low, high, p_value and corrected_p_value.
    """
    _, *others = users
    tests = paired_tests_against_first(list(users.values()))
    return {
        name: {**test._asdict(), "corrected_p_value": p_value}
        for name, (test, p_value) in zip(others, tests, strict=True)
    }


def sensitivity(users: Mapping[str, Mapping[str, Floats]]) -> dict[str, Any]:
    """Whether the order of methods depends on the protocol.

    For each pair of protocols: Kendall's tau-b of the methods' means (Kendall 1945; None where it is undefined, as with
    one method), and the pairs of methods whose order differs. A swap is tested under both protocols, by a paired test over
    users with Holm's correction over all these tests.

    Args:
        users: by protocol and method, the metric of each user, (S,), the same methods under each.
    """
    means = {
        protocol: {name: float(values.mean()) for name, values in methods.items()}
        for protocol, methods in users.items()
    }
    pairs = []
    for first, second in combinations(users, 2):
        values = [[means[protocol][name] for name in users[first]] for protocol in (first, second)]
        tau = float(kendalltau(*values).statistic) if len(values[0]) > 1 else float("nan")
        pairs.append(
            {
                "protocols": [first, second],
                "tau": None if np.isnan(tau) else tau,
                "swaps": _swaps(users, means, (first, second)),
            }
        )
    order = {
        protocol: sorted(values, key=lambda name: -values[name])
        for protocol, values in means.items()
    }
    return {"order": order, "pairs": pairs}


def _swaps(
    users: Mapping[str, Mapping[str, Floats]],
    means: Mapping[str, Mapping[str, float]],
    protocols: Sequence[str],
) -> list[dict[str, Any]]:
    """Pairs of methods of which another one is ahead under each protocol, with their tests."""
    found: list[dict[str, Any]] = []
    for a, b in combinations(users[protocols[0]], 2):
        signs = [means[protocol][b] - means[protocol][a] for protocol in protocols]
        if signs[0] * signs[1] < 0:
            tests = {p: paired_test(users[p][a], users[p][b])._asdict() for p in protocols}
            found.append({"methods": [a, b], "tests": tests})
    corrected = iter(holm([t["p_value"] for swap in found for t in swap["tests"].values()]))
    for swap in found:
        for test in swap["tests"].values():
            test["corrected_p_value"] = next(corrected)
        swap["significant"] = all(t["corrected_p_value"] < LEVEL for t in swap["tests"].values())
    return found
