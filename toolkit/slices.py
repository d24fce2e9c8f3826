"""Metrics of parts of the targets of one evaluation: by popularity, by time, and by the length of the history.

R targets, N items.
"""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from toolkit import metrics
from toolkit.histories import Indices, UserHistories
from toolkit.splits import Evaluation

POPULAR_SHARE = 0.5  # of the training interactions
TAIL_SHARE = 0.2
RECENT_SHARE = 0.2  # of the targets
Flags = NDArray[np.bool_]


class Slice(NamedTuple):
    """Some of the targets.

    Args:
        name: name of the slice.
        about: which targets it holds.
        holds: (R,) whether it holds a target.
    """

    name: str
    about: str
    holds: Flags


def measure_slices(
    slices: Sequence[Slice], ranks: ArrayLike, users: Indices
) -> dict[str, dict[str, Any]]:
    """By slice: `about`, the numbers of `users` and `targets`, and their `metrics` (`toolkit.metrics.summarise`).

    Slices without targets are left out. A user counts with the targets in the slice alone.

    Args:
        slices: the slices.
        ranks: (R,) ranks of the targets.
        users: (R,) index of each target's user.
    """
    ranks, measured = np.asarray(ranks, dtype=np.float64), {}
    for name, about, holds in slices:
        if not holds.any():
            continue
        distinct, own = np.unique(users[holds], return_inverse=True)
        measured[name] = {
            "about": about,
            "users": len(distinct),
            "targets": int(holds.sum()),
            "metrics": metrics.summarise(ranks[holds], users=own),
        }
    return measured


def slices_of(
    evaluation: Evaluation, train_counts: Indices, histories: UserHistories
) -> list[Slice]:
    """The slices of an evaluation.

    Args:
        evaluation: the evaluation.
        train_counts: (N + 1,) occurrences of each item in the training sequences.
        histories: every user's interactions, with their times if the dataset has them.
    """
    return [
        *_by_popularity(evaluation.targets, train_counts),
        *([] if histories.times is None else _by_time(histories.times[evaluation.stops])),
        *_by_length(_earlier(histories.bounds, evaluation.stops)),
    ]


def _by_popularity(targets: NDArray[np.int32], train_counts: Indices) -> Iterator[Slice]:
    occurrences = train_counts[targets]
    yield Slice("warm", "targets that occur in the training sequences", occurrences > 0)
    yield Slice("cold", "targets that never occur in the training sequences", occurrences == 0)
    # Items with equal counts are on one side, so that no slice depends on item numbers.
    popular = least_count(train_counts, POPULAR_SHARE)
    yield Slice(
        "popular",
        f"targets with at least {popular:,} training interactions: the most frequent items with {POPULAR_SHARE:.0%} of all",
        occurrences >= popular,
    )
    tail = least_count(train_counts, 1 - TAIL_SHARE)
    yield Slice(
        "tail",
        f"targets with fewer than {tail:,} training interactions: all but the most frequent items with {1 - TAIL_SHARE:.0%} "
        "of all",
        occurrences < tail,
    )


def least_count(train_counts: Indices, share: float) -> int:
    """The count of the rarest among the most frequent items that together have a share of the interactions.

    >>> least_count(np.array([0, 6, 1, 3]), 0.5), least_count(np.array([0, 6, 1, 3]), 0.8)
    (6, 3)
    """
    counts = np.sort(train_counts)[::-1]
    until = np.cumsum(counts)
    return int(counts[np.searchsorted(until, share * until[-1])])


def _by_time(times: Indices) -> Iterator[Slice]:
    index = min(int((1 - RECENT_SHARE) * len(times)), len(times) - 1)
    since = np.partition(times, index)[index] if len(times) else 0
    yield Slice("recent", f"the latest {RECENT_SHARE:.0%} of the targets in time", times >= since)


def _by_length(lengths: Indices) -> Iterator[Slice]:
    """Three parts by the number of earlier interactions, as equal in size as equal lengths allow."""
    short, long = (int(bound) for bound in np.quantile(lengths, [1 / 3, 2 / 3], method="lower"))
    yield Slice("short", f"targets with at most {short:,} earlier interactions", lengths <= short)
    middle = (lengths > short) & (lengths <= long)
    yield Slice("medium", f"targets with {short + 1:,} to {long:,} earlier interactions", middle)
    yield Slice("long", f"targets with more than {long:,} earlier interactions", lengths > long)


def _earlier(bounds: Indices, targets: Indices) -> Indices:
    """(R,) how many interactions of its user precede each target, from its index in the flat histories."""
    starts: Indices = bounds[np.searchsorted(bounds, targets, side="right") - 1]
    return targets - starts
