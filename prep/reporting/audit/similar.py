"""Near-equal items by a banded lookup: only items that agree in a band of their code are compared.

N items, B bands. `similar_groups` compares at most `WINDOW` neighbours per item, band and probe, so the work is linear in
N even if all items are equal; `complete` says whether this limit was met.
"""

from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array  # type: ignore[import-untyped]
from scipy.sparse.csgraph import connected_components  # type: ignore[import-untyped]

from prep.reporting.finding import Facts
from prep.reporting.limits import SHOWN
from prep.reporting.measures import Ints, share

WINDOW = 64
Keys = NDArray[np.uint64]
IsNear = Callable[[Ints, Ints], NDArray[np.bool_]]


class Similar(NamedTuple):
    """Groups of near-equal items.

    Args:
        labels: (N,) group of each item; items of one group are connected by pairs of near-equal items.
        complete: whether every candidate was compared.
    """

    labels: Ints
    complete: bool


def similar_groups(keys: Keys, is_near: IsNear, *, flips: tuple[int, ...] = (0,)) -> Similar:
    """Groups items that are near-equal.

    Args:
        keys: (N, B) key of each item in each band.
        is_near: whether pairs of items, (P,) and (P,), are near-equal.
        flips: differences of keys that count as agreement, 0 among them.
    """
    count = len(keys)
    complete, nothing = True, np.zeros(0, np.int64)
    if not count:
        return Similar(nothing, complete)
    linked = [(nothing, nothing)]
    for band in keys.T:
        order = np.argsort(band, kind="stable")
        for flip in flips:
            first, stop = _ranges(band, order, flip)
            complete &= bool((stop - first <= WINDOW + 1).all())
            for left, right in _pairs(order, first, np.minimum(stop, first + WINDOW + 1)):
                near = is_near(left, right)
                linked.append((left[near], right[near]))
    left, right = (np.concatenate(side) for side in zip(*linked, strict=True))
    graph = coo_array((np.ones(len(left), np.bool_), (left, right)), shape=(count, count))
    return Similar(connected_components(graph, directed=False)[1].astype(np.int64), complete)


def _ranges(band: NDArray[np.uint64], order: Ints, flip: int) -> tuple[Ints, Ints]:
    """(N,) the places in `order` of the items whose key is an item's own, flipped; of equal keys, those after it."""
    ascending = band[order]
    wanted = ascending ^ np.uint64(flip)
    stop = np.searchsorted(ascending, wanted, side="right")
    if flip == 0:
        return np.arange(1, len(order) + 1), stop
    first = np.searchsorted(ascending, wanted, side="left")
    return first, np.where(wanted > ascending, stop, first)  # each pair once


def _pairs(order: Ints, first: Ints, stop: Ints) -> Iterator[tuple[Ints, Ints]]:
    """Pairs of an item and each item of its range, one item of every range at a time."""
    place = np.arange(len(order))
    at = first
    while len(place):
        open_ = at < stop
        place, at, stop = place[open_], at[open_], stop[open_]
        if len(place):
            yield order[place], order[at]
        at = at + 1


def grouped(labels: Ints, item_ids: list[str]) -> Facts:
    """Groups of at least two items, largest first.

    Args:
        labels: (N,) group of each item.
        item_ids: N ids.
    """
    sizes = np.bincount(labels) if len(labels) else np.zeros(1, np.int64)
    several = sizes > 1
    items = int(sizes[several].sum())
    listed = np.argsort(-sizes, kind="stable")[:SHOWN]
    return {
        "groups": int(several.sum()),
        "items": items,
        "share": share(items, len(labels)),
        "listed": [
            {
                "items": int(sizes[group]),
                "item_ids": [item_ids[row] for row in np.flatnonzero(labels == group)[:SHOWN]],
            }
            for group in listed
            if sizes[group] > 1
        ],
    }
