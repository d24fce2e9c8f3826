"""Temporal leakage of leave-one-out: interactions later than a user's own test, which other users train on.

Leave-one-out cuts every user at a different time (arXiv 2010.11060, arXiv 2507.16289).
"""

from collections.abc import Iterator

import numpy as np

from prep.reporting.chunks import Chunk
from prep.reporting.finding import Facts, Finding
from prep.reporting.measures import Ints, share
from toolkit.cuts import MIN_INTERACTIONS

SHARE, USERS = (
    0.05,
    100,
)  # minimum share later than the test, and minimum number of users, for a finding


class LastTimes:
    """Collects the time of the last interaction of each user in the splits; 8 bytes per user."""

    def __init__(self) -> None:
        self._times: list[Ints] = []

    def add(self, chunk: Chunk) -> None:
        """Collects the times of further users."""
        last = np.maximum.reduceat(chunk.time, chunk.starts)
        self._times.append(last[chunk.lengths >= MIN_INTERACTIONS])

    def ascending(self) -> Ints:
        """(S,) the times, ascending."""
        return np.sort(np.concatenate([np.zeros(0, np.int64), *self._times]))


class Later:
    """Counts the pairs of an interaction and a user's test that it is later than.

    The mean over users of the share of interactions later than the user's test is their number over S · V: no
    interactions have to be sorted.

    Args:
        tests: (S,) time of each user's test, ascending.
    """

    def __init__(self, tests: Ints) -> None:
        self._tests = tests
        self._pairs = self._interactions = 0

    def add(self, chunk: Chunk) -> None:
        """Counts the interactions of further users."""
        self._pairs += int(np.searchsorted(self._tests, np.sort(chunk.time)).sum())
        self._interactions += len(chunk.time)

    def share(self) -> float | None:
        """A share in [0, 1]; None without users to test."""
        return share(self._pairs, len(self._tests) * self._interactions)


def find_leakage(audit: Facts) -> Iterator[Finding]:
    """A finding if much of the log is later than the users' tests."""
    later = audit["leakage"]["later_than_own_test"]
    if audit["leakage"]["users"] >= USERS and later is not None and later >= SHARE:
        yield Finding(
            "note",
            "leave_one_out",
            f"Under leave-one-out, {later:.1%} of all interactions are later than a user's own test time (mean over users)",
            "training includes interactions later than other users' tests, so report this share with the results",
            "a model knows items and popularity of the future, and models may rank otherwise under a cut in time (protocol "
            "time)",
            "caution",
        )
