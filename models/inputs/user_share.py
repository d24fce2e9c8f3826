"""A share of the training users: few-shot curves of a run, and source-size curves of the run that it begins with.

S users, L + 1 items of a training sequence, N items.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from math import ceil

import numpy as np
from numpy.typing import NDArray

from toolkit.histories import Number, blocks, counts_in
from toolkit.large_arrays import zeros
from toolkit.splits import Splits


def with_share_of_users(splits: Splits, share: float, *, seed: int) -> Splits:
    """The splits with the training sequences of a share of the users; those of the others are padding alone.

    What counts training interactions (popularity, negatives) counts those of the share. Evaluation is unchanged: of all
    users.

    Args:
        splits: splits of a dataset.
        share: in (0, 1]; at least one user is kept.
        seed: of the draw. With one seed, a smaller share is a part of a larger one, whatever else the dataset contains.
    """
    if share >= 1:
        return splits
    kept = shared_users(splits.user_ids, share, seed=seed)
    train, times = _rows_of(splits.train, kept), splits.train_times
    return replace(
        splits,
        train=train,
        train_counts=counts_in(train, items=len(splits.train_counts) - 1),
        train_times=None if times is None else _rows_of(times, kept),
    )


def _rows_of(matrix: NDArray[Number], kept: NDArray[np.bool_]) -> NDArray[Number]:
    """A matrix whose other rows are 0; mapped if it is large."""
    result: NDArray[Number] = zeros(matrix.shape, matrix.dtype)
    for rows in blocks(len(matrix)):
        result[rows] = np.where(kept[rows, None], matrix[rows], 0)
    return result


def shared_users(ids: Sequence[str], share: float, *, seed: int) -> NDArray[np.bool_]:
    """(S,) whether a user belongs to the share: those with the smallest hashes of seed and id.

    >>> few, many = (shared_users(list("abcdefgh"), share, seed=0) for share in (0.25, 0.5))
    >>> int(few.sum()), int(many.sum()), bool((few <= many).all())
    (2, 4, True)
    """
    key = str(seed).encode()
    digests = (hashlib.blake2b(one.encode(), key=key, digest_size=8).digest() for one in ids)
    hashes = np.fromiter(map(int.from_bytes, digests), dtype=np.uint64, count=len(ids))
    kept = np.zeros(len(ids), dtype=bool)
    kept[np.argsort(hashes, kind="stable")[: ceil(share * len(ids))]] = True
    return kept
