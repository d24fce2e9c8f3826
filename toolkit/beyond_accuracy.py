"""Metrics beyond accuracy, as pure functions of top-k lists: coverage, popularity, novelty, serendipity, diversity.

A list has a user's item numbers by rank, 0 at its end where fewer than k items can be ranked. The metrics of users are NaN
for an empty list, and their means leave NaN out. The definitions are those of RecTools 0.19 (`rectools.metrics`), with
equal values.

S users, k items per list, N items numbered 1..N, D width of a content vector, L_u the items of the list of user u.
"""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from toolkit.metrics import normal_interval

K = 10  # items per list of an evaluation
Lists = NDArray[np.integer[Any]]
Counts = NDArray[np.int64]
Values = NDArray[np.float64]
Vectors = Callable[[NDArray[np.int64]], NDArray[np.floating[Any]]]
_USERS_AT_ONCE = 1024


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
    "popularity": Unit("interactions", 1, 2, "mean training interactions of listed items"),
    "novelty": Unit("bits", 1, 3, "mean inverse user frequency of listed items"),
    "serendipity": Unit("%", 100, 3, "hits that popularity ranks lower"),
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
    """Share of the catalogue that is in at least one list, in [0, 1]: |∪_u L_u| / C.

    Catalogue coverage of Ge, Delgado-Battenfeld & Jannach, "Beyond accuracy: evaluating recommender systems by coverage
    and serendipity" (RecSys 2010). RecTools: `CatalogCoverage(normalize=True)`.

    Args:
        lists: (S, k).
        catalogue: C, number of items that can be ranked.

    >>> coverage(np.array([[1, 2], [1, 0]]), catalogue=8)
    0.25
    """
    listed = np.unique(lists)
    return int((listed > 0).sum()) / catalogue


def popularity(lists: Lists, interactions: Counts) -> Values:
    """Average recommendation popularity (ARP) of each user: the mean of the training interactions of L_u, at least 0.

    Popularity bias by Yin et al., "Challenging the long tail recommendation" (VLDB 2012). RecTools: `AvgRecPopularity`.

    Args:
        lists: (S, k).
        interactions: (N + 1,) training interactions per item.

    >>> popularity(np.array([[1, 2], [2, 0]]), np.array([0, 5, 2])).tolist()
    [3.5, 2.0]
    """
    return _mean_over_lists(interactions[lists], lists)


def novelty(lists: Lists, users: Counts, *, all_users: int) -> Values:
    """Mean inverse user frequency (MIUF) of each user: the mean over L_u of -log2(users(i) / U), in [0, log2 U].

    U is the number of training users. Items without a training user count as items with one. Castells, Vargas & Wang,
    "Novelty and diversity metrics for recommender systems" (DDR at ECIR 2011). RecTools: `MeanInvUserFreq`.

    Args:
        lists: (S, k).
        users: (N + 1,) training users per item.
        all_users: U.

    >>> novelty(np.array([[1, 2], [3, 0]]), np.array([0, 4, 2, 0]), all_users=4).tolist()
    [0.5, 2.0]
    """
    return _mean_over_lists(-np.log2(np.maximum(users, 1) / all_users)[lists], lists)


def serendipity(
    lists: Lists, targets: NDArray[np.integer[Any]], interactions: Counts, *, catalogue: int
) -> Values:
    """Serendipity of each user, in [0, 1]: the mean over ranks r of L_u of max(p(r) - q(i_r), 0) if i_r is the target.

    p(r) = (C + 1 - r) / C decreases with the rank r of the list, and q(i) = (C + 1 - s(i)) / C with the rank s(i) of the
    item by training interactions, 1 for the largest number; equal numbers share a rank, and the next number has the next
    rank. q is 0 for items without training interactions. So only a target that the list ranks better than popularity
    does counts. RecTools: `Serendipity`, by "Recommender systems: it's not all about the accuracy" (gab41.lab41.org,
    2016).

    Args:
        lists: (S, k).
        targets: (S,) the relevant item of each user.
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
    """Intra-list diversity (ILD) of each user: the mean over pairs of L_u of 1 - cos(v_i, v_j), in [0, 2].

    0 for a list of one item. Pairs with an item without content are left out; NaN if none is left. The sum over m unit
    vectors replaces the pairs: the mean cosine is (|Σ v|² - m) / (m (m - 1)). Smyth & McClave, "Similarity vs.
    diversity" (ICCBR 2001); Ziegler et al., "Improving recommendation lists through topic diversification" (WWW 2005).
    RecTools: `IntraListDiversity` with the cosine distance.

    Args:
        lists: (S, k).
        vectors: returns the content vectors of (U,) item numbers, (U, D), zeros for items without content. It is called
            with the distinct items of a block of users.

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
    catalogue: int,
    vectors: Vectors | None = None,
) -> dict[str, float | dict[str, float]]:
    """All metrics of the lists: coverage as a number, the others as `{"value", "low", "high"}`.

    The value is the mean over users with its 95% interval (`toolkit.metrics.normal_interval`). A metric that no user has a
    value of is left out, as is the diversity without vectors.

    Args:
        lists: (S, k).
        targets: (S,) item numbers.
        counts: counts of the training interactions.
        catalogue: number of items that can be ranked.
        vectors: reads content vectors, as in `diversity`.
    """
    of_users = {
        "popularity": (popularity(lists, counts.interactions), np.inf),
        "novelty": (
            novelty(lists, counts.users, all_users=counts.all_users),
            np.log2(counts.all_users),
        ),
        "serendipity": (
            serendipity(lists, targets, counts.interactions, catalogue=catalogue),
            1.0,
        ),
    }
    if vectors is not None:
        of_users["diversity"] = (diversity(lists, vectors), 2.0)
    k = lists.shape[1]
    summary: dict[str, float | dict[str, float]] = {
        f"coverage@{k}": coverage(lists, catalogue=catalogue)
    }
    for name, (values, most) in of_users.items():
        defined = values[~np.isnan(values)]
        if defined.size:
            low, high = normal_interval(defined, most=float(most))
            summary[f"{name}@{k}"] = {"value": float(defined.mean()), "low": low, "high": high}
    return summary


def _mean_over_lists(values: NDArray[Any], lists: Lists) -> Values:
    """(S,) means of (S, k) values over the items of each list; NaN for an empty list."""
    items = lists > 0
    sums = np.where(items, values, 0).sum(axis=1, dtype=np.float64)
    count = items.sum(axis=1)
    return np.divide(sums, count, out=np.full(len(lists), np.nan), where=count > 0)


def _units(vectors: NDArray[np.float64]) -> NDArray[np.float64]:
    """Vectors of length 1; zeros stay zeros."""
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.divide(vectors, lengths, out=np.zeros_like(vectors), where=lengths > 0)


def _blocks(count: int) -> Iterator[slice]:
    return (slice(start, start + _USERS_AT_ONCE) for start in range(0, count, _USERS_AT_ONCE))
