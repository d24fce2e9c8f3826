"""Calibration of recognised action units (AUs): its error, temperatures, and thresholds. Missing labels are not counted.

Temperatures and thresholds are fitted on training subjects, never on those of a test.

N frames, A AUs.
"""

from collections.abc import Iterator

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import minimize_scalar  # type: ignore[import-untyped]

from toolkit.facs import ACTIVE, MISSING

Floats = NDArray[np.float64]
_LOG_TEMPERATURES = (-5.0, 5.0)  # bounds of the search


def calibration_error(probabilities: ArrayLike, labels: ArrayLike, *, bins: int = 15) -> Floats:
    """(A,) expected calibration error: Σ_b n_b / N |mean p - mean y| over bins of equal width of p; nan without labels.

    Guo et al. 2017, arXiv 1706.04599, equation 5, for the probability of being active.

    Args:
        probabilities: (N, A) of being active.
        labels: (N, A) of 0, 1 and 9 (missing).
        bins: number of bins.

    >>> calibration_error([[0.9], [0.9]], [[1], [0]]).tolist()
    [0.4]
    """
    errors = []
    for p, y in _labelled(probabilities, labels):
        bin_of = np.minimum((p * bins).astype(int), bins - 1)
        gaps = np.bincount(bin_of, weights=p - y, minlength=bins)
        errors.append(np.abs(gaps).sum() / len(p) if len(p) else np.nan)
    return np.array(errors)


def fit_temperatures(logits: ArrayLike, labels: ArrayLike) -> Floats:
    """(A,) temperatures T that minimise the cross-entropy of σ(z / T).

    Guo et al. 2017, arXiv 1706.04599, section 4.2. Logits of frames that the network was trained on are more certain than
    those of others: use training subjects whose frames were held out where there are some.

    Args:
        logits: (N, A) z of frames of training subjects.
        labels: (N, A) of 0, 1 and 9 (missing).

    Raises:
        ValueError: if an AU has no labelled frame.
    """
    temperatures = []
    for index, (z, y) in enumerate(_labelled(logits, labels)):
        _expect_labels(index, y)

        def cross_entropy(log_temperature: float, z: Floats = z, y: Floats = y) -> float:
            scaled = z / np.exp(log_temperature)
            return float((np.logaddexp(0, scaled) - y * scaled).mean())

        best = minimize_scalar(cross_entropy, bounds=_LOG_TEMPERATURES, method="bounded")
        temperatures.append(np.exp(best.x))
    return np.array(temperatures)


def fit_thresholds(probabilities: ArrayLike, labels: ArrayLike) -> Floats:
    """(A,) thresholds of the highest F1: an AU is active from its threshold on.

    A threshold lies halfway between two neighbouring probabilities; of several with the highest F1, it is the one nearest
    to 0.5. It is 0.5 for an AU that is never active.

    Args:
        probabilities: (N, A) of being active, of frames of training subjects.
        labels: (N, A) of 0, 1 and 9 (missing).

    Raises:
        ValueError: if an AU has no labelled frame.

    >>> fit_thresholds([[0.1], [0.2], [0.4]], [[0], [1], [1]]).round(2).tolist()
    [0.15]
    """
    thresholds = []
    for index, (p, y) in enumerate(_labelled(probabilities, labels)):
        _expect_labels(index, y)
        thresholds.append(_best_threshold(p, y) if y.any() else 0.5)
    return np.array(thresholds)


def _best_threshold(p: Floats, y: Floats) -> float:
    values, index = np.unique(p, return_inverse=True)
    positives = np.bincount(index, weights=y)[::-1].cumsum()[
        ::-1
    ]  # active frames from each value on
    frames = np.bincount(index)[::-1].cumsum()[::-1]
    scores = 2 * positives / (frames + y.sum())  # 2 TP + FP + FN is recognised plus active frames
    halfway = np.concatenate([values[:1] / 2, (values[1:] + values[:-1]) / 2])
    best = halfway[np.isclose(scores, scores.max(), rtol=1e-12)]
    return float(best[np.abs(best - 0.5).argmin()])


def _labelled(values: ArrayLike, labels: ArrayLike) -> Iterator[tuple[Floats, Floats]]:
    """Values and labels of the labelled frames, by AU."""
    for value, label in zip(np.asarray(values, np.float64).T, np.asarray(labels).T, strict=True):
        labelled = label != MISSING
        yield value[labelled], (label[labelled] == ACTIVE).astype(np.float64)


def _expect_labels(index: int, labels: Floats) -> None:
    if not len(labels):
        raise ValueError(f"the AU in column {index} has no labelled frame; leave it out")
