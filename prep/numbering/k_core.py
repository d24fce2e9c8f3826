"""The k-core: users and items that all have at least k interactions with one another."""

from collections.abc import Callable, Iterable

import numpy as np
from numpy.typing import NDArray

Pairs = Iterable[tuple[NDArray[np.int32], NDArray[np.int32]]]


def k_core(
    pairs: Callable[[], Pairs], *, users: int, items: int, k: int
) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """How many interactions each user and each item has inside the k-core; 0 outside of it.

    Whoever has fewer than k is taken away with all interactions, until nobody has: the result does not
    depend on the order. Repeats count. Nothing but the counts is held in memory; each round reads the
    pairs once.

    Args:
        pairs: gives users (1..U) and items (1..N) of all interactions, some at a time; called once a
            round.
        users: U.
        items: N.
        k: at least 1.

    Returns:
        (U + 1,) and (N + 1,) counts; index 0 is 0.
    """
    one = np.int32(1)  # of the counts' own type: with Python's 1, `add.at` takes 25 times as long
    user_counts = np.full(users + 1, k, dtype=np.int32)
    item_counts = np.full(items + 1, k, dtype=np.int32)
    while True:
        user_kept, item_kept = user_counts >= k, item_counts >= k
        user_counts, item_counts = np.zeros_like(user_counts), np.zeros_like(item_counts)
        for user, item in pairs():
            both = user_kept[user] & item_kept[item]
            np.add.at(user_counts, user[both], one)
            np.add.at(item_counts, item[both], one)
        if not _falls_short(user_counts, k) and not _falls_short(item_counts, k):
            return user_counts, item_counts


def _falls_short(counts: NDArray[np.int32], k: int) -> bool:
    return bool(((counts > 0) & (counts < k)).any())
