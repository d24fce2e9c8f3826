"""The k-core: the users and items that all have at least k interactions with each other."""

from collections.abc import Callable, Iterable

import numpy as np
from numpy.typing import NDArray

Pairs = Iterable[tuple[NDArray[np.int32], NDArray[np.int32]]]


def k_core(
    pairs: Callable[[], Pairs], *, users: int, items: int, k: int
) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """The number of interactions of each user and each item within the k-core; 0 outside of it.

    Users and items with fewer than k interactions are removed until none remain; the result does not depend on the
    order. Repeats count. Only the counts are held in memory; each round reads the pairs once.

    Args:
        pairs: returns users (1..U) and items (1..N) of all interactions in batches; called once per round.
        users: U.
        items: N.
        k: at least 1.

    Returns:
        (U + 1,) and (N + 1,) counts; index 0 is 0.
    """
    increment = np.int32(
        1
    )  # the type of the counts: with Python's 1, `add.at` takes 25 times as long
    user_counts = np.full(users + 1, k, dtype=np.int32)
    item_counts = np.full(items + 1, k, dtype=np.int32)
    while True:
        user_kept, item_kept = user_counts >= k, item_counts >= k
        user_counts, item_counts = np.zeros_like(user_counts), np.zeros_like(item_counts)
        for user, item in pairs():
            both = user_kept[user] & item_kept[item]
            np.add.at(user_counts, user[both], increment)
            np.add.at(item_counts, item[both], increment)
        if not _falls_short(user_counts, k) and not _falls_short(item_counts, k):
            return user_counts, item_counts


def _falls_short(counts: NDArray[np.int32], k: int) -> bool:
    return bool(((counts > 0) & (counts < k)).any())
