"""Curves of a test for one action unit (AU), as points; faces without a label are left out.

N faces.
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from models.facial.metrics import needs_sklearn
from toolkit.facs import ACTIVE, MISSING

Points = list[list[float]]
POINTS = 80  # most points of a curve; a plot does not resolve more
GROUPS = 10  # of faces in a reliability curve


def roc(scores: ArrayLike, labels: ArrayLike) -> Points:
    """[false positive rate, true positive rate] at every threshold, by scikit-learn; empty if all labels are equal.

    Args:
        scores: (N,) logits or probabilities.
        labels: (N,) of 0, 1 and 9 (missing).

    Raises:
        UserError: if scikit-learn is not installed.

    >>> roc([0.1, 0.4, 0.35, 0.8], [0, 0, 1, 1])
    [[0.0, 0.0], [0.0, 0.5], [0.5, 0.5], [0.5, 1.0], [1.0, 1.0]]
    """
    try:
        from sklearn.metrics import roc_curve
    except ImportError as error:
        raise needs_sklearn("the ROC curve") from error
    p, y = _labelled(scores, labels)
    if len(np.unique(y)) < 2:
        return []
    false_positive, true_positive, _ = roc_curve(y, p)
    return _points(false_positive, true_positive)


def precision_recall(scores: ArrayLike, labels: ArrayLike) -> Points:
    """[recall, precision] at every threshold, by scikit-learn; empty without an active face.

    Args:
        scores: (N,) logits or probabilities.
        labels: (N,) of 0, 1 and 9 (missing).

    Raises:
        UserError: if scikit-learn is not installed.

    >>> precision_recall([0.1, 0.4, 0.8], [0, 1, 1])
    [[0.0, 1.0], [0.5, 1.0], [1.0, 1.0], [1.0, 0.667]]
    """
    try:
        from sklearn.metrics import precision_recall_curve
    except ImportError as error:
        raise needs_sklearn("the curve of precision and recall") from error
    p, y = _labelled(scores, labels)
    if not y.any():
        return []
    precision, recall, _ = precision_recall_curve(y, p)
    return _points(recall[::-1], precision[::-1])


def reliability(probabilities: ArrayLike, labels: ArrayLike) -> Points:
    """[mean probability, share of active faces] of tenths of the faces, in the order of their probabilities.

    Groups of equal size, unlike the bins of equal width of the expected calibration error, have no point of few faces.

    Args:
        probabilities: (N,) of being active.
        labels: (N,) of 0, 1 and 9 (missing).

    >>> reliability([0.2, 0.9, 0.4, 0.6], [0, 1, 9, 0])
    [[0.2, 0.0], [0.6, 0.0], [0.9, 1.0]]
    """
    p, y = _labelled(probabilities, labels)
    groups = np.array_split(np.argsort(p, kind="stable"), min(GROUPS, len(p)) or 1)
    means = [[p[group].mean(), y[group].mean()] for group in groups if len(group)]
    return [[round(float(value), 3) for value in pair] for pair in means]


def _labelled(
    values: ArrayLike, labels: ArrayLike
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    known = np.asarray(labels) != MISSING
    y = np.asarray(labels)[known] == ACTIVE
    return np.asarray(values, np.float64)[known], y.astype(np.float64)


def _points(x: NDArray[np.float64], y: NDArray[np.float64]) -> Points:
    kept = np.unique(np.linspace(0, len(x) - 1, min(POINTS, len(x))).round().astype(int))
    return [[round(float(x[at]), 3), round(float(y[at]), 3)] for at in kept]
