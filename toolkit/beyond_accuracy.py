"""Metrics beyond accuracy, as pure functions of top-k lists: coverage, popularity, novelty, serendipity, diversity.

A list has item numbers by rank, 0 at its end where fewer than k items can be ranked. Metrics of a list are NaN for an empty
list, and means leave NaN out. The definitions are those of RecTools 0.19 (`rectools.metrics`), with equal values.

R lists, k items per list, L_r the items of list r, N items numbered 1..N, C items that can be listed, D width of a content
vector.
"""

import math
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from toolkit.metrics import normal_interval, user_means

K = 10  # items per list of an evaluation
Lists = NDArray[np.integer[Any]]
Counts = NDArray[np.int64]
Values = NDArray[np.float64]
Vectors = Callable[[NDArray[np.int64]], NDArray[np.floating[Any]]]
_LISTS_AT_ONCE = 1024


class Unit(NamedTuple):
    """How values of a metric are printed.

    Args:
        noun: the unit; empty for a number without one.
        scale: factor of printed values.
        digits: decimals of printed values.
        about: the metric, in one phrase.
    """

    noun: str
    scale: float
    digits: int
    about: str

    def text(self, value: float) -> str:
        """A value in this unit, without the noun."""
        return f"{self.scale * value:,.{self.digits}f}"


UNITS = {
    "coverage": Unit("%", 100, 2, "share of the catalogue in at least one list"),
    "popularity": Unit("interactions", 1, 2, "mean training interactions of listed items (ARP)"),
    "novelty": Unit("bits", 1, 3, "mean inverse user frequency of listed items (MIUF)"),
    "serendipity": Unit("×10⁻⁶", 1e6, 2, "hits that popularity ranks lower"),
    "diversity": Unit("", 1, 4, "mean cosine distance of the pairs of a list over content"),
}


def unit(name: str) -> Unit:
    """The unit of a metric with its cutoff, such as `novelty@10`."""
    return UNITS[name.partition("@")[0]]


def texts(name: str, result: float | dict[str, float]) -> tuple[str, str]:
    """The value and the interval of a metric for a table, in its unit; an empty interval for a metric of all lists.

    >>> texts("coverage@10", 0.25), texts("novelty@10", {"value": 8.0, "low": 7.5, "high": 8.5})
    (('25.00', ''), ('8.000', '[7.500, 8.500]'))
    """
    text = unit(name).text
    if isinstance(result, dict):
        return text(result["value"]), f"[{text(result['low'])}, {text(result['high'])}]"
    return text(result), ""


def head(name: str) -> str:
    """The name of a metric with its unit, as the head of a column.

    >>> head("novelty@10"), head("diversity@10")
    ('novelty@10, bits', 'diversity@10')
    """
    noun = unit(name).noun
    return f"{name}, {noun}" if noun else name


def describe(names: Iterable[str]) -> str:
    """Metrics in words.

    >>> describe(["diversity@10"])
    'diversity: mean cosine distance of the pairs of a list over content'
    """
    return "; ".join(f"{name.partition('@')[0]}: {unit(name).about}" for name in names)


class TrainingCounts(NamedTuple):
    """What a training set contains of each item.

    Args:
        interactions: (N + 1,) interactions with each item; index 0 is 0.
        users: (N + 1,) distinct users with such interactions; index 0 is 0.
        all_users: number of users with a training interaction.
    """

    interactions: Counts
    users: Counts
    all_users: int


def training_counts(train: Lists, *, items: int) -> TrainingCounts:
    """Counts the interactions and users of each item.

    Args:
        train: (S, L) item numbers of each user's training interactions, padded with 0.
        items: N.
    """
    interactions, users = (np.zeros(items + 1, np.int64) for _ in range(2))
    all_users = 0
    for rows in _blocks(len(train)):
        ordered = np.sort(train[rows], axis=1)
        distinct = np.diff(ordered, axis=1, prepend=0) > 0  # neither padding nor a repeated item
        interactions += np.bincount(ordered[ordered > 0], minlength=items + 1)
        users += np.bincount(ordered[distinct], minlength=items + 1)
        all_users += int(distinct.any(axis=1).sum())
    return TrainingCounts(interactions, users, all_users)


def coverage(lists: Lists, *, catalogue: int) -> float:
    """Share of the catalogue that is in at least one list, in [0, 1]: |∪_r L_r| / C.

    Catalogue coverage of Ge, Delgado-Battenfeld & Jannach, "Beyond accuracy: evaluating recommender systems by coverage
    and serendipity" (RecSys 2010). RecTools: `CatalogCoverage(normalize=True)`.

    Args:
        lists: (R, k).
        catalogue: C, number of items that can be ranked.

    >>> coverage(np.array([[1, 2], [1, 0]]), catalogue=8)
    0.25
    """
    listed = np.unique(lists)
    return int((listed > 0).sum()) / catalogue


def popularity(lists: Lists, interactions: Counts) -> Values:
    """Average recommendation popularity (ARP) of each list: the mean of the training interactions of L_r, at least 0.

    Popularity bias by Yin et al., "Challenging the long tail recommendation" (VLDB 2012). RecTools: `AvgRecPopularity`.

    Args:
        lists: (R, k).
        interactions: (N + 1,) training interactions per item.

    >>> popularity(np.array([[1, 2], [2, 0]]), np.array([0, 5, 2])).tolist()
    [3.5, 2.0]
    """
    return _mean_over_lists(interactions[lists], lists)


def novelty(lists: Lists, users: Counts, *, all_users: int) -> Values:
    """Mean inverse user frequency (MIUF) of each list: the mean over L_r of -log2(users(i) / U), in [0, log2 U].

    U is the number of training users. Items without a training user count as items with one. Castells, Vargas & Wang,
    "Novelty and diversity metrics for recommender systems" (DDR at ECIR 2011). RecTools: `MeanInvUserFreq`.

    Args:
        lists: (R, k).
        users: (N + 1,) training users per item.
        all_users: U.

    >>> novelty(np.array([[1, 2], [3, 0]]), np.array([0, 4, 2, 0]), all_users=4).tolist()
    [0.5, 2.0]
    """
    return _mean_over_lists(-np.log2(np.maximum(users, 1) / all_users)[lists], lists)


def serendipity(
    lists: Lists, targets: NDArray[np.integer[Any]], interactions: Counts, *, catalogue: int
) -> Values:
    """Serendipity of each list, in [0, 1]: the mean over ranks j of max(p(j) - q(i_j), 0) if i_j is the target.

    p(j) = (C + 1 - j) / C decreases with the rank j of the list, and q(i) = (C + 1 - s(i)) / C with the rank s(i) of the
    item by training interactions, 1 for the largest number; equal numbers share a rank, and the next number has the next
    rank. q is 0 for items without training interactions. So only a target that the list ranks better than popularity
    does counts. Values are small where few distinct numbers occur, because q is then near 1. RecTools: `Serendipity`, by
    "Recommender systems: it's not all about the accuracy" (gab41.lab41.org, 2016).

    Args:
        lists: (R, k).
        targets: (R,) the relevant item of each list.
        interactions: (N + 1,) training interactions per item.
        catalogue: C, number of items that can be ranked.

    >>> serendipity(np.array([[1, 2], [2, 0]]), np.array([2, 2]), np.array([0, 5, 2]), catalogue=4).tolist()
    [0.0, 0.25]
    """
    levels, level = np.unique(interactions[1:], return_inverse=True)
    by_popularity = (catalogue + 1 - (len(levels) - level)) / catalogue
    general = np.concatenate([[0.0], np.where(interactions[1:] > 0, by_popularity, 0.0)])
    personal = (catalogue + 1 - np.arange(1, lists.shape[1] + 1)) / catalogue
    gains = np.maximum(personal - general[lists], 0.0)
    return _mean_over_lists(gains * (lists == targets[:, None]), lists)


def diversity(lists: Lists, vectors: Vectors) -> Values:
    """Intra-list diversity (ILD) of each list: the mean over pairs of L_r of 1 - cos(v_i, v_j), in [0, 2].

    0 for a list of one item. Pairs with an item without content are left out; NaN if none is left. The sum over m unit
    vectors replaces the pairs: the mean cosine is (|Σ v|² - m) / (m (m - 1)). Smyth & McClave, "Similarity vs.
    diversity" (ICCBR 2001); Ziegler et al., "Improving recommendation lists through topic diversification" (WWW 2005).
    RecTools: `IntraListDiversity` with the cosine distance.

    Args:
        lists: (R, k).
        vectors: returns the content vectors of (U,) item numbers, (U, D), zeros for items without content. It is called
            with the distinct items of a block of lists.

    >>> table = np.array([[0.0, 0.0], [2.0, 0.0], [0.0, 1.0]])
    >>> diversity(np.array([[1, 2], [2, 0]]), lambda items: table[items]).tolist()
    [1.0, 0.0]
    """
    parts = [np.zeros(0)]
    for rows in _blocks(len(lists)):
        items, index = np.unique(lists[rows], return_inverse=True)
        units = _units(vectors(items.astype(np.int64)).astype(np.float64))
        units[items == 0] = 0.0
        index = index.reshape(lists[rows].shape)
        sums = np.zeros((len(index), units.shape[1]))
        for column in index.T:
            sums += units[column]
        pairs_of = (units != 0).any(axis=1)[index].sum(axis=1)
        pairs = pairs_of * (pairs_of - 1)
        cosines = np.divide(
            np.square(sums).sum(axis=1) - pairs_of,
            pairs,
            out=np.full(len(index), np.nan),
            where=pairs > 0,
        )
        alone = (lists[rows] > 0).sum(axis=1) == 1
        parts.append(np.where(alone, 0.0, np.clip(1.0 - cosines, 0.0, 2.0)))
    return np.concatenate(parts)


def summarise(
    lists: Lists,
    targets: NDArray[np.integer[Any]],
    counts: TrainingCounts,
    *,
    catalogue: NDArray[np.integer[Any]],
    users: NDArray[np.int64] | None = None,
    vectors: Vectors | None = None,
) -> dict[str, float | dict[str, float]]:
    """All metrics of the lists: coverage as a number, the others as `{"value", "low", "high"}`.

    The value is the mean over users with its 95% interval (`toolkit.metrics.normal_interval`); a user with several lists
    counts once, with their mean. A metric without any value is left out: the diversity without vectors, and the
    serendipity if all targets are outside the catalogue, where no list can have them.

    Args:
        lists: (R, k).
        targets: (R,) item numbers.
        counts: counts of the training interactions.
        catalogue: (C,) numbers of the items that can be listed.
        users: (R,) index of each list's user; by default every list has another user.
        vectors: returns content vectors, as in `diversity`.
    """
    size, k = len(catalogue), lists.shape[1]
    hits = serendipity(lists, targets, counts.interactions, catalogue=size)
    values = {
        "popularity": popularity(lists, counts.interactions),
        "novelty": novelty(lists, counts.users, all_users=counts.all_users),
        "serendipity": np.where(np.isin(targets, catalogue), hits, np.nan),
    }
    if vectors is not None:
        values["diversity"] = diversity(lists, vectors)
    most = {"novelty": math.log2(counts.all_users), "serendipity": 1.0, "diversity": 2.0}
    of_users = np.arange(len(lists)) if users is None else users
    summary: dict[str, float | dict[str, float]] = {
        f"coverage@{k}": coverage(lists, catalogue=size)
    }
    for name, of_lists in values.items():
        defined = ~np.isnan(of_lists)
        if defined.any():
            _, index = np.unique(of_users[defined], return_inverse=True)
            means = user_means(of_lists[defined], index)
            low, high = normal_interval(means, most=most.get(name, math.inf))
            summary[f"{name}@{k}"] = {"value": float(means.mean()), "low": low, "high": high}
    return summary


def _mean_over_lists(values: NDArray[Any], lists: Lists) -> Values:
    """(R,) means of (R, k) values over the items of each list; NaN for an empty list."""
    items = lists > 0
    sums = np.where(items, values, 0).sum(axis=1, dtype=np.float64)
    count = items.sum(axis=1)
    return np.divide(sums, count, out=np.full(len(lists), np.nan), where=count > 0)


def _units(vectors: NDArray[np.float64]) -> NDArray[np.float64]:
    """Vectors of length 1; zeros stay zeros."""
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.divide(vectors, lengths, out=np.zeros_like(vectors), where=lengths > 0)


def _blocks(count: int) -> Iterator[slice]:
    return (slice(start, start + _LISTS_AT_ONCE) for start in range(0, count, _LISTS_AT_ONCE))
