"""Metrics of recognised action units (AUs), with intervals over subjects. Missing labels are not counted.

N frames, A AUs, S subjects, R bootstrap rounds.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from toolkit.errors import UserError
from toolkit.facs import ACTIVE, MISSING

Floats = NDArray[np.float64]
_AT_ONCE = 1 << 20  # numbers drawn at a time


class Counts(NamedTuple):
    """Frames by subject and AU, (S, A) each.

    Args:
        true_positive: active and recognised as active.
        false_positive: inactive, but recognised as active.
        false_negative: active, but not recognised.
        true_negative: inactive and recognised as such.
    """

    true_positive: NDArray[np.int64]
    false_positive: NDArray[np.int64]
    false_negative: NDArray[np.int64]
    true_negative: NDArray[np.int64]


class Interval(NamedTuple):
    """A metric with its 95% interval.

    Args:
        value: of all frames.
        low: lower end.
        high: upper end.
    """

    value: float
    low: float
    high: float


class F1Report(NamedTuple):
    """F1 of the pooled frames.

    Args:
        mean: over AUs.
        per_au: (A,) by AU.
    """

    mean: Interval
    per_au: list[Interval]


def count(active: ArrayLike, labels: ArrayLike, subjects: Sequence[str]) -> Counts:
    """Counts the frames of each subject, in the order of the subjects' names.

    Args:
        active: (N, A) whether an AU is recognised as active.
        labels: (N, A) of 0, 1 and 9 (missing).
        subjects: (N,) subject of each frame.

    Raises:
        ValueError: if there is no frame, or the shapes do not match.
    """
    recognised, given = np.asarray(active, dtype=bool), np.asarray(labels)
    if not given.size or recognised.shape != given.shape or len(subjects) != len(given):
        raise ValueError(
            f"predictions {recognised.shape}, labels {given.shape} and {len(subjects)} subjects; expected (N, A), (N, A) "
            "and N, with N at least 1"
        )
    names, subject = np.unique(np.asarray(subjects), return_inverse=True)
    true, labelled = given == ACTIVE, given != MISSING
    found = np.zeros((4, len(names), given.shape[1]), dtype=np.int64)
    cells = (true & recognised, ~true & recognised, true & ~recognised, ~true & ~recognised)
    for total, cell in zip(found, cells, strict=True):
        np.add.at(total, subject, cell & labelled)
    return Counts(*found)


def f1(counts: Counts) -> Floats:
    """(A,) F1 of each AU, over the frames of all subjects: 2 TP / (2 TP + FP + FN).

    It is 0 for an AU that is never active, as in published results, whatever is recognised.

    >>> f1(count([[1], [1], [0]], [[1], [0], [9]], ["a", "b", "b"])).round(3).tolist()
    [0.667]
    """
    return _f1(*(part.sum(0) for part in counts[:3]))


def f1_of_subjects(counts: Counts) -> Floats:
    """(S,) the mean over AUs of each subject's F1, for paired tests of two runs (`toolkit.significance`).

    AUs that a subject does not show are left out, for all runs alike; nan for a subject that shows none.
    """
    shown = counts.true_positive + counts.false_negative > 0
    return _ratio(np.where(shown, _f1(*counts[:3]), 0).sum(1), shown.sum(1))


def f1_report(counts: Counts, *, rounds: int = 10_000, seed: int = 0) -> F1Report:
    """F1 per AU and their mean, with the middle 95% of R bootstrap rounds that draw S subjects with replacement.

    Frames of a subject resemble each other, so subjects are drawn, not frames.

    Args:
        counts: of all subjects.
        rounds: R.
        seed: seed of the random draws; the global generator is not used.

    Raises:
        ValueError: if R is below 1.
    """
    if rounds < 1:
        raise ValueError(f"rounds is {rounds}; it must be at least 1")
    subjects = len(counts.true_positive)
    generator, shares = np.random.default_rng(seed), np.full(subjects, 1 / subjects)
    at_once = max(1, _AT_ONCE // subjects)
    rows = []
    for start in range(0, rounds, at_once):
        times = generator.multinomial(subjects, shares, min(at_once, rounds - start))
        rows.append(_f1(*(times @ part for part in counts[:3])))
    samples, values = np.concatenate(rows), f1(counts)
    return F1Report(
        _interval(values.mean(), samples.mean(1)),
        [_interval(value, of_au) for value, of_au in zip(values, samples.T, strict=True)],
    )


def accuracy(counts: Counts) -> Floats:
    """(A,) the share of frames whose AU is recognised right; nan without a labelled frame."""
    right = (counts.true_positive + counts.true_negative).sum(0)
    return _ratio(right, sum(part.sum(0) for part in counts))


def auc(scores: ArrayLike, labels: ArrayLike) -> Floats:
    """(A,) the area under the ROC curve, by scikit-learn; nan if all labelled frames have one state.

    Args:
        scores: (N, A) logits or probabilities.
        labels: (N, A) of 0, 1 and 9 (missing).

    Raises:
        UserError: if scikit-learn is not installed.
    """
    try:
        from sklearn.metrics import roc_auc_score
    except ImportError as error:
        raise needs_sklearn("AUC") from error
    given, found = np.asarray(labels), []
    for score, label in zip(np.asarray(scores).T, given.T, strict=True):
        labelled = label != MISSING
        both = len(np.unique(label[labelled])) == 2
        found.append(roc_auc_score(label[labelled], score[labelled]) if both else np.nan)
    return np.array(found, dtype=np.float64)


def needs_sklearn(what: str) -> UserError:
    """The error for a part that needs scikit-learn, which is not installed."""
    return UserError(
        f"{what} needs scikit-learn, which is not installed; pip install 'versa-toolkit[faces]'"
    )


def _f1(true_positive: ArrayLike, false_positive: ArrayLike, false_negative: ArrayLike) -> Floats:
    twice = 2 * np.asarray(true_positive)
    return _ratio(twice, twice + np.asarray(false_positive) + np.asarray(false_negative), empty=0.0)


def _ratio(part: ArrayLike, whole: ArrayLike, *, empty: float = np.nan) -> Floats:
    """The quotient; `empty` where the whole is 0."""
    part, whole = (np.asarray(values, dtype=np.float64) for values in (part, whole))
    return np.divide(part, whole, out=np.full(part.shape, empty), where=whole > 0)


def _interval(value: float, samples: Floats) -> Interval:
    low, high = np.quantile(samples, [0.025, 0.975])
    return Interval(float(value), float(low), float(high))
