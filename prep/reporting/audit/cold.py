"""The share of test targets that never occur in training, under each named protocol.

The cuts are those of `toolkit.cuts`, made for a chunk of complete users at a time.
"""

from collections.abc import Callable, Iterator

import numpy as np
import pyarrow as pa

from prep.reporting.chunks import Chunk
from prep.reporting.finding import Facts, Finding, percent
from prep.reporting.measures import share
from toolkit.cuts import MIN_INTERACTIONS, MIN_TRAINED, Cut, LeaveOneOut, TimeCut
from toolkit.histories import UserHistories, occurring
from toolkit.protocols import NAMED, Targets
from toolkit.user_ids import UserIds

SHARE, TARGETS = (
    0.1,
    100,
)  # minimum share of cold targets, and minimum number of targets, for a finding
MAX_LEN = 10  # L of the paper's protocol
# Protocols that select targets by their training occurrences have no share of their own.
SPLITS = {name: value.split for name, value in NAMED.items() if value.targets == Targets()}


class Cold:
    """Counts targets by item, and the items of the training sequences, under one split.

    Args:
        items: N.
        cut: cuts histories of complete users.
    """

    def __init__(self, items: int, cut: Callable[[UserHistories, int], Cut]) -> None:
        self._items, self._cut = items, cut
        self._trained = np.zeros(items + 1, np.bool_)
        self._targets = np.zeros(items + 1, np.int64)

    def add(self, chunk: Chunk) -> None:
        """Counts the targets of further users."""
        if not (chunk.lengths >= MIN_INTERACTIONS).any():
            return
        bounds = np.append(chunk.starts, len(chunk.item))
        names = UserIds(pa.array(chunk.user[chunk.starts]).cast(pa.string()))
        made = self._cut(UserHistories(chunk.item, bounds, names, chunk.time), MAX_LEN)
        rows = made.train_stops - made.kept >= MIN_TRAINED
        trained = made.kept[rows], made.train_stops[rows]
        self._trained |= occurring(chunk.item, *trained, items=self._items)
        self._targets += np.bincount(chunk.item[made.test.targets], minlength=self._items + 1)

    def facts(self) -> Facts:
        """Number of test targets, and of those that never occur in training."""
        targets, cold = int(self._targets.sum()), int(self._targets[~self._trained].sum())
        return {"targets": targets, "cold": cold, "share": share(cold, targets)}


def cold_counters(items: int, moments: tuple[int, int] | None) -> dict[LeaveOneOut | TimeCut, Cold]:
    """A counter for each split of the named protocols.

    Args:
        items: N.
        moments: validation cut and test cut in milliseconds; None leaves out the splits that need times.
    """
    counters: dict[LeaveOneOut | TimeCut, Cold] = {}
    for split in SPLITS.values():
        if not isinstance(split, TimeCut):
            counters[split] = Cold(items, split.cut)
        elif moments is not None:
            counters[split] = Cold(items, _at(split, *moments))
    return counters


def _at(split: TimeCut, valid_at: int, test_at: int) -> Callable[[UserHistories, int], Cut]:
    def cut(histories: UserHistories, max_len: int) -> Cut:
        return split.cut_at(histories, max_len, valid_at=valid_at, test_at=test_at)

    return cut


def cold_by_protocol(counters: dict[LeaveOneOut | TimeCut, Cold]) -> Facts:
    """The figures of `cold` by the name of the protocol; null for a protocol whose split needs times that are absent."""
    return {
        name: counters[split].facts() if split in counters else None
        for name, split in SPLITS.items()
    }


def find_cold(audit: Facts) -> Iterator[Finding]:
    """A finding on the protocols with many cold targets."""
    many = {
        name: facts["share"]
        for name, facts in audit["cold"].items()
        if facts and facts["targets"] >= TARGETS and facts["share"] >= SHARE
    }
    if many:
        each = ", ".join(f"{percent(part)} under {name}" for name, part in many.items())
        yield Finding(
            "note",
            "cold_targets",
            f"Test targets that never occur in training: {each}",
            "report warm and cold targets apart (protocols warm-1 and cold)",
            "a model of ids cannot find them, so a gain of content may be a gain on these targets alone",
            "caution",
        )
