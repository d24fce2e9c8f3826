"""Paired significance tests of two runs, from a metric of the same users under both.

N users, V distinct values among their differences, R rounds. A round draws only the frequency of each
value, which determines the mean. Metrics of ranks have few distinct values, so 100,000 users take hardly
more time than 1,000.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

_AT_ONCE = 1 << 20  # numbers drawn at a time; keeps memory below 50 MiB for any N and R


class Paired(NamedTuple):
    """Difference of two runs over the same users.

    Args:
        difference: mean of b - a.
        low: lower end of the 95% interval of the mean.
        high: upper end of the interval.
        p_value: two-sided p-value: the probability of a mean at least as far from 0 if a and b do not differ.
    """

    difference: float
    low: float
    high: float
    p_value: float


def paired_test(a: ArrayLike, b: ArrayLike, *, rounds: int = 10_000, seed: int = 0) -> Paired:
    """Compares two runs by the values of one metric, user by user.

    The interval contains the middle 95% of R bootstrap means (users drawn with replacement). The p-value
    is that of a permutation test. If the runs do not differ, the sign of every user's difference is random, so all
    signs are drawn R times, and p = (1 + c) / (1 + R), where c is the number of means at least as far from 0 as
    the observed mean. The added ones keep p above 0 (Phipson & Smyth 2010, "Permutation P-values should never be
    zero").

    Args:
        a: (N,) metric of each user under the first run.
        b: (N,) metric under the second run, users in the same order.
        rounds: R.
        seed: seed of the random draws; the global generator is not used.

    Raises:
        ValueError: if there are no users or rounds, the lengths differ, or a value is not finite.

    >>> paired_test([0, 1, 0, 1], [0, 1, 0, 1])
    Paired(difference=0.0, low=0.0, high=0.0, p_value=1.0)
    """
    differences = _differences(a, b)
    if rounds < 1:
        raise ValueError(f"rounds must be at least 1, got {rounds}")
    bootstrap, signs = (np.random.default_rng([seed, stream]) for stream in (0, 1))
    low, high = np.quantile(_resampled(differences, rounds, bootstrap), [0.025, 0.975])
    mean, far = float(differences.mean()), np.abs(_sign_flipped(differences, rounds, signs))
    rounding = 1e-12 * np.abs(differences).mean()  # equal sums of other terms differ by less
    at_least_as_far = int((far >= abs(mean) - rounding).sum())
    return Paired(mean, float(low), float(high), (1 + at_least_as_far) / (1 + rounds))


def paired_tests_against_first(values: Sequence[ArrayLike]) -> list[tuple[Paired, float]]:
    """The paired test of every other run against the first, and its p-value after Holm's correction over these tests.

    Args:
        values: by run, (N,) metric of each user, users in the same order.

    Raises:
        ValueError: as `paired_test` does.
    """
    tests = [paired_test(values[0], other) for other in values[1:]]
    return list(zip(tests, holm([test.p_value for test in tests]), strict=True))


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's correction for multiple tests: the k-th smallest of m p-values times m - k + 1, monotone, at most 1.

    Holm 1979, "A simple sequentially rejective multiple test procedure".

    >>> holm([0.01, 0.04, 0.03])
    [0.03, 0.06, 0.06]
    """
    order = sorted(range(len(p_values)), key=lambda index: p_values[index])
    corrected = [0.0] * len(p_values)
    largest = 0.0
    for rank, index in enumerate(order):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[index]))
        corrected[index] = largest
    return corrected


def _differences(a: ArrayLike, b: ArrayLike) -> NDArray[np.float64]:
    first, second = (np.asarray(values, dtype=np.float64) for values in (a, b))
    if first.ndim != 1 or first.shape != second.shape or not first.size:
        raise ValueError(
            "a paired test needs one value per user under each run, for the same users; "
            f"got arrays of shapes {first.shape} and {second.shape}"
        )
    differences = second - first
    if not np.isfinite(differences).all():
        where = int(np.flatnonzero(~np.isfinite(differences))[0])
        raise ValueError(
            f"values must be finite; those of user {where} are {first[where]} and {second[where]}"
        )
    return differences


def _resampled(
    differences: NDArray[np.float64], rounds: int, generator: np.random.Generator
) -> NDArray[np.float64]:
    """(R,) means of N users drawn with replacement."""
    values, counts = np.unique(differences, return_counts=True)
    count, shares = len(differences), counts / len(differences)
    return _sums(values, rounds, lambda size: generator.multinomial(count, shares, size)) / count


def _sign_flipped(
    differences: NDArray[np.float64], rounds: int, generator: np.random.Generator
) -> NDArray[np.float64]:
    """(R,) means with random signs; of c users with the same absolute difference, Binomial(c, 1/2) are positive."""
    values, counts = np.unique(np.abs(differences), return_counts=True)

    def net(size: int) -> NDArray[np.int64]:
        return 2 * generator.binomial(counts, 0.5, (size, len(counts))) - counts

    return _sums(values, rounds, net) / len(differences)


def _sums(
    values: NDArray[np.float64], rounds: int, draw: Callable[[int], NDArray[np.int64]]
) -> NDArray[np.float64]:
    """(R,) sums of values weighted by frequencies, which `draw` returns for some rounds, (rounds, V)."""
    at_once = max(1, _AT_ONCE // len(values))
    sizes = [min(at_once, rounds - start) for start in range(0, rounds, at_once)]
    return np.concatenate([draw(size) @ values for size in sizes])
