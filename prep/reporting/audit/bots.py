"""Users far outside the distribution of lengths, and users with many interactions in one second."""

from collections.abc import Iterator
from heapq import nlargest
from typing import NamedTuple

import numpy as np

from prep.reporting.chunks import Chunk
from prep.reporting.finding import Facts, Finding, percent
from prep.reporting.limits import SHOWN
from prep.reporting.measures import Ints, share
from prep.reporting.shapes import summed
from toolkit.measures import number

Z = 3.5  # modified z-score of an outlier (Iglewicz and Hoaglin, 1993)
TIMES_MEDIAN = 10  # least length of an outlier, in median lengths, because lengths have long tails
BURST = 50  # interactions of a user in one second
SHARE = 0.01  # of the interactions; above it, such users need a word in a paper


class _User(NamedTuple):
    interactions: int
    user_id: str


class Bots:
    """Counts lengths, and the largest number of interactions of each user in one second."""

    def __init__(self) -> None:
        self._lengths = np.zeros(1, np.int64)  # users by number of interactions
        self._bursts = np.zeros(1, np.int64)  # users by their largest number in one second
        self._bursting = 0  # interactions of users with a burst
        self._longest: list[_User] = []

    def add(self, chunk: Chunk) -> None:
        """Counts further users."""
        self._lengths = summed(self._lengths, np.bincount(chunk.lengths))
        top = np.argsort(-chunk.lengths, kind="stable")[:SHOWN]
        ids = chunk.table.column("user_id")
        users = [
            _User(int(chunk.lengths[user]), ids[int(chunk.starts[user])].as_py()) for user in top
        ]
        self._longest = nlargest(SHOWN, [*self._longest, *users])
        most = _most_in_a_second(chunk)
        self._bursts = summed(self._bursts, np.bincount(most))
        self._bursting += int(chunk.lengths[most >= BURST].sum())

    def facts(self, resolution_seconds: float | None) -> Facts:
        """The figures of `bots`.

        Args:
            resolution_seconds: step of the clock; bursts are null if it is above one second or there are no times.

        Returns:
            longest_usual: the largest length that is not an outlier. long: users above it. bursts: users with at
            least `BURST` interactions in one second.
        """
        usual = longest_usual(self._lengths)
        places = np.arange(len(self._lengths))
        total = int(self._lengths @ places)
        long = np.where(places > usual, self._lengths, 0)
        fine = resolution_seconds is not None and resolution_seconds <= 1
        most = len(self._bursts) - 1
        return {
            "longest_usual": usual,
            "long": _users(int(long.sum()), int(long @ places), total),
            "most_in_a_second": most if fine else None,
            "bursts": _users(int(self._bursts[BURST:].sum()), self._bursting, total)
            if fine
            else None,
            "longest": [
                {"user_id": user.user_id, "interactions": user.interactions}
                for user in self._longest
                if user.interactions > usual
            ],
        }


def _users(users: int, interactions: int, total: int) -> Facts:
    return {"users": users, "interactions": interactions, "share": share(interactions, total)}


def _most_in_a_second(chunk: Chunk) -> Ints:
    """(U,) the largest number of dated interactions of each user in one second."""
    second = chunk.time // 1000
    if not chunk.dated.all():
        return np.zeros(len(chunk.starts), np.int64)
    new = np.diff(second, prepend=second[0] - 1) != 0
    new[chunk.starts] = True
    runs = np.flatnonzero(new)
    lengths = np.diff(runs, append=len(second))
    return np.asarray(np.maximum.reduceat(lengths, np.searchsorted(runs, chunk.starts)))


def longest_usual(lengths: Ints) -> int:
    """The largest number of interactions that is not far outside the distribution.

    With x = log(length): 0.6745 (x - median) / MAD > 3.5 is an outlier; where the median absolute deviation is 0, the
    mean absolute deviation times 1.2533 replaces MAD / 0.6745 (Iglewicz and Hoaglin, 1993). Lengths below ten medians
    are never outliers.

    Args:
        lengths: users by number of interactions, 0, 1, 2, ...
    """
    present = np.flatnonzero(lengths[1:]) + 1
    if not len(present):
        return 0
    counts = lengths[present]
    middle = _median(present, counts)
    far = np.abs(np.log(present) - np.log(middle))
    scale = _median(far, counts) / 0.6745
    if scale == 0:
        scale = 1.2533 * float(far @ counts) / float(counts.sum())
    limit = max(middle * np.exp(Z * scale), TIMES_MEDIAN * middle)
    return int(min(limit, present[-1]))


def _median(values: np.ndarray, counts: Ints) -> float:
    """The smallest value that at least half of the numbers do not exceed."""
    order = np.argsort(values, kind="stable")
    reached = np.cumsum(counts[order])
    return float(values[order][np.searchsorted(reached, reached[-1] / 2)])


def find_bots(audit: Facts) -> Iterator[Finding]:
    """Findings about long users and bursts."""
    bots = audit["bots"]
    if bots["long"]["users"]:
        longest = bots["longest"][0]
        yield _finding(
            "long_users",
            f"{number(bots['long']['users'], 'user')} with more than {bots['longest_usual']:,} interactions, far outside the "
            f"distribution of lengths (user {longest['user_id']!r}: {longest['interactions']:,})",
            bots["long"]["share"],
        )
    if bots["bursts"] and bots["bursts"]["users"]:
        yield _finding(
            "bursts",
            f"{number(bots['bursts']['users'], 'user')} with {BURST} or more interactions in one second (at most "
            f"{bots['most_in_a_second']:,})",
            bots["bursts"]["share"],
        )


def _finding(kind: str, what: str, part: float) -> Finding:
    return Finding(
        "warning" if part >= SHARE else "note",
        kind,
        f"{what}, who hold {percent(part)} of all interactions",
        "if they are programs or shared accounts, leave them out before you ingest, and say so",
        "they shape popularity, negatives and item-to-item counts, although each is a single user of the metric",
        "caution" if part >= SHARE else "fit",
    )
