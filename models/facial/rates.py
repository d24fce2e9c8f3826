"""Rates of action units (AUs) among training subjects, and the weights of the AUs in the loss.

N frames, A AUs.
"""

from collections.abc import Collection, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from toolkit.errors import UserError
from toolkit.facs import ACTIVE, MISSING, column


def training_rates(
    labels: ArrayLike,
    subjects: Sequence[str],
    *,
    training: Collection[str],
    aus: Sequence[int],
) -> NDArray[np.float64]:
    """The share of active frames of each AU, of the labelled frames of training subjects.

    Args:
        labels: (N, A) of 0, 1 and 9 (missing).
        subjects: (N,) subject of each frame.
        training: the training subjects; frames of others are not read.
        aus: (A,) numbers of the AUs in FACS, for messages.

    Returns:
        (A,) above 0 and at most 1.

    Raises:
        UserError: if no frame is of a training subject, or an AU is never active among them.

    >>> training_rates([[1], [0], [1], [9]], ["a", "a", "b", "a"], training={"a"}, aus=[12])
    array([0.5])
    """
    wanted = set(training)
    rows = np.asarray(labels)[[subject in wanted for subject in subjects]]
    if not len(rows):
        raise UserError(
            f"none of {len(subjects)} frames is of the {len(wanted)} training subjects; check the fold"
        )
    labelled, active = (rows != MISSING).sum(0), (rows == ACTIVE).sum(0)
    for au, count, of in zip(aus, active, labelled, strict=True):
        if not count:
            raise UserError(
                f"{column(au)} is active in none of the {of} labelled frames of the training subjects, so it cannot be "
                "learned; leave it out of the AUs, or use another fold"
            )
    return np.asarray(active / labelled)


def weights_of_rates(rates: ArrayLike) -> NDArray[np.float64]:
    """w_a = A · (1 / r_a) / Σ_b (1 / r_b): rare AUs weigh more, and the sum is A.

    ME-GraphAU, arXiv 2205.01782.

    Args:
        rates: (A,) above 0.

    >>> weights_of_rates([0.5, 0.25]).round(3).tolist()
    [0.667, 1.333]
    """
    inverse = 1 / np.asarray(rates, dtype=np.float64)
    return np.asarray(inverse * (len(inverse) / inverse.sum()))
