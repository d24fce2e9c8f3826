"""Popularity of the first and the last tenth of time, and items that exist only after the cut in time.

Popularity changes with time, so a model that knows the whole log knows what will be popular (arXiv 2010.11060).
"""

from collections.abc import Iterator

import numpy as np
import pandas as pd

from prep.reporting.chunks import Chunk
from prep.reporting.finding import Facts, Finding, percent
from prep.reporting.measures import Ints, share
from toolkit.cuts import MIN_INTERACTIONS
from toolkit.measures import number

TENTH = 0.1
EXCESS = 0.2  # of the total variation, above the one by chance
LEAST = 1000  # interactions of each tenth for a finding: smaller samples say little
NEW_SHARE = 0.01  # of the items; above it, new items need a word in a paper
USERS = 20  # users in the splits for a finding on new items


class Tenths:
    """Counts the interactions of each item in the first and the last tenth, and items by the cut in time.

    Args:
        items: N.
        first_end: one past the last millisecond of the first tenth.
        cut: first millisecond of the last tenth, which is the test cut of protocol time.
    """

    def __init__(self, items: int, first_end: int, cut: int) -> None:
        self._first_end, self._cut = first_end, cut
        self._first = np.zeros(items + 1, np.int64)
        self._last = np.zeros(items + 1, np.int64)
        self._before = np.zeros(items + 1, np.bool_)

    def add(self, chunk: Chunk) -> None:
        """Counts the interactions of further users."""
        own = chunk.rows_of(chunk.lengths >= MIN_INTERACTIONS)
        time, item = chunk.time[own], chunk.item[own]
        size = len(self._first)
        self._first += np.bincount(item[time < self._first_end], minlength=size)
        self._last += np.bincount(item[time >= self._cut], minlength=size)
        self._before[item[time < self._cut]] = True

    def facts(self) -> tuple[Facts, Facts]:
        """The figures of `drift` and `new_items`."""
        return drift(self._first[1:], self._last[1:]), self._new()

    def _new(self) -> Facts:
        after = self._last[1:] > 0
        new = after & ~self._before[1:]
        exist = int((after | self._before[1:]).sum())
        return {
            "cut_ms": self._cut,
            "items": int(new.sum()),
            "share": share(int(new.sum()), exist),
            "share_of_interactions_after": share(
                int(self._last[1:][new].sum()), int(self._last.sum())
            ),
        }


def drift(first: Ints, last: Ints) -> Facts:
    """How far the popularity of two samples of interactions differs. N items.

    The total variation ½ Σ |p_i - q_i| is the share of interactions that would have to go to other items to turn one
    into the other. Two samples of the same popularity differ too: by_chance estimates that from the mean absolute
    difference of two normal variables with the variances of the pooled shares, at most twice the pooled share.

    Args:
        first: (N,) interactions of each item in the first sample.
        last: (N,) the same of the last sample.
    """
    sizes = int(first.sum()), int(last.sum())
    if min(sizes) == 0:
        return dict.fromkeys(("total_variation", "by_chance", "rank_correlation"), None) | {
            "interactions": min(sizes)
        }
    pooled = (first + last) / sum(sizes)
    deviation = np.sqrt(pooled * (1 - pooled) * (1 / sizes[0] + 1 / sizes[1]))
    chance = np.minimum(np.sqrt(2 / np.pi) * deviation, 2 * pooled).sum() / 2
    variation = np.abs(first / sizes[0] - last / sizes[1]).sum() / 2
    seen = pooled > 0
    return {
        "total_variation": round(float(variation), 6),
        "by_chance": round(float(chance), 6),
        "rank_correlation": _spearman(first[seen], last[seen]),
        "interactions": min(sizes),
    }


def no_drift() -> tuple[Facts, Facts]:
    """The figures of `drift` and `new_items` of a log without times: all null."""
    drifted = ("total_variation", "by_chance", "rank_correlation", "interactions")
    new = ("cut_ms", "items", "share", "share_of_interactions_after")
    return dict.fromkeys(drifted), dict.fromkeys(new)


def _spearman(first: Ints, last: Ints) -> float | None:
    """Spearman's rank correlation, ties with their mean rank; None if a side is constant."""
    if any(np.ptp(side) == 0 for side in (first, last)):
        return None
    return round(float(pd.Series(first).corr(pd.Series(last), method="spearman")), 6)


def find_drift(audit: Facts) -> Iterator[Finding]:
    """Findings about changed popularity and new items."""
    facts, new = audit["drift"], audit["new_items"]
    variation = facts["total_variation"]
    many = (facts["interactions"] or 0) >= LEAST
    if variation is not None and many and variation - facts["by_chance"] >= EXCESS:
        correlation = facts["rank_correlation"]
        more = "" if correlation is None else f", rank correlation {correlation:.2f}"
        yield Finding(
            "note",
            "popularity_drift",
            f"Popularity differs between the first and the last tenth of time by {percent(variation)} of the interactions "
            f"({percent(facts['by_chance'])} by chance{more})",
            "report a protocol with a cut in time beside leave-one-out",
            "under leave-one-out a model knows the popularity of the future; under a cut in time it meets another one",
            "caution",
        )
    if new["items"] and audit["users_in_splits"] >= USERS:
        yield Finding(
            "note",
            "new_items",
            f"{number(new['items'], 'item')} ({percent(new['share'])}) exist only after the test cut in time, with "
            f"{percent(new['share_of_interactions_after'])} of the interactions there",
            "report warm and cold targets apart, and name the protocol",
            "under leave-one-out they are trained on, although they did not exist yet; under a cut in time a model of ids "
            "cannot find them",
            "caution" if new["share"] >= NEW_SHARE else "fit",
        )
