import math

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, f1_score

from models.facial.metrics import accuracy, auc, count, f1, f1_of_subjects, f1_report
from toolkit.significance import paired_test

RANDOM = np.random.default_rng(0)
N, A = 400, 3
SUBJECTS = [f"F{n % 8:03d}" for n in range(N)]
LABELS = np.where(RANDOM.random((N, A)) < 0.1, 9, (RANDOM.random((N, A)) < 0.3).astype(int))
SCORES = RANDOM.random((N, A)) + 0.4 * (LABELS == 1)


def by_au():
    for a in range(A):
        labelled = LABELS[:, a] != 9
        yield LABELS[labelled, a], SCORES[labelled, a]


def test_f1_and_accuracy_are_those_of_scikit_learn():
    counts = count(SCORES > 0.5, LABELS, SUBJECTS)
    np.testing.assert_allclose(f1(counts), [f1_score(y, s > 0.5) for y, s in by_au()])
    np.testing.assert_allclose(accuracy(counts), [accuracy_score(y, s > 0.5) for y, s in by_au()])
    for subject, of_subject in enumerate(np.unique(SUBJECTS)):
        rows = np.array(SUBJECTS) == of_subject
        alone = count(SCORES[rows] > 0.5, LABELS[rows], [of_subject] * rows.sum())
        assert (LABELS[rows] == 1).any(0).all()
        assert f1_of_subjects(counts)[subject] == pytest.approx(f1(alone).mean())


def test_auc_is_the_share_of_pairs_in_order():
    expected = [
        np.mean([(p > q) + 0.5 * (p == q) for p in s[y == 1] for q in s[y == 0]])
        for y, s in by_au()
    ]
    np.testing.assert_allclose(auc(SCORES, LABELS), expected)
    assert math.isnan(auc([[0.1], [0.2], [0.3]], [[1], [9], [1]])[0])


def test_intervals_are_of_subjects_drawn_with_replacement():
    counts = count(SCORES > 0.5, LABELS, SUBJECTS)
    report = f1_report(counts, rounds=2000)
    assert report.mean.value == pytest.approx(f1(counts).mean())
    generator, rows = np.random.default_rng(1), np.array(SUBJECTS)
    slow = []
    for _ in range(200):
        drawn = generator.choice(np.unique(rows), 8)
        chosen = np.concatenate([np.flatnonzero(rows == name) for name in drawn])
        slow.append(f1(count(SCORES[chosen] > 0.5, LABELS[chosen], rows[chosen])))
    low, high = np.quantile(np.mean(slow, axis=1), [0.025, 0.975])
    width = high - low
    assert abs(report.mean.low - low) < 0.2 * width and abs(report.mean.high - high) < 0.2 * width
    assert f1_report(counts, rounds=2000) == report
    # One subject always is the sample.
    alone = f1_report(count(SCORES > 0.5, LABELS, ["F001"] * N), rounds=50)
    assert alone.mean.low == alone.mean.high == pytest.approx(alone.mean.value)


def test_frames_of_a_subject_are_no_independent_samples():
    # Every subject is either recognised completely or not at all; more frames of each add no certainty.
    labels, active = np.ones((80, 1)), (np.arange(80) % 8 < 5)[:, None]
    subjects = [f"F{n % 8}" for n in range(80)]
    few, many = (
        f1_report(count(np.tile(active, (k, 1)), np.tile(labels, (k, 1)), subjects * k)).mean
        for k in (1, 10)
    )
    assert many == pytest.approx(few) and few.high - few.low > 0.3


def test_an_au_that_is_never_active_has_an_f1_of_zero():
    counts = count([[1, 0], [0, 0]], [[1, 0], [1, 0]], ["a", "b"])
    assert f1(counts).tolist() == [2 / 3, 0]
    report = f1_report(counts, rounds=100)
    assert report.mean.value == 1 / 3 and report.per_au[1] == (0, 0, 0)


def test_f1_of_a_subject_is_over_the_aus_that_it_shows():
    labels, subjects = [[1, 0], [1, 0], [0, 0]], ["a", "b", "c"]
    for of_second in (0, 1):
        counts = count([[1, of_second], [0, of_second], [0, of_second]], labels, subjects)
        np.testing.assert_equal(f1_of_subjects(counts), [1, 0, math.nan])


def test_runs_are_compared_by_subjects():
    one, other = (count(scores > 0.5, LABELS, SUBJECTS) for scores in (SCORES, LABELS == 1))
    test = paired_test(f1_of_subjects(one), f1_of_subjects(other))
    assert test.difference > 0.2 and test.p_value < 0.02


def test_shapes_that_do_not_match_are_refused():
    with pytest.raises(ValueError, match=r"predictions \(1, 1\), labels \(1, 2\) and 1 subjects"):
        count([[1]], [[1, 0]], ["a"])
    with pytest.raises(ValueError, match="rounds is 0"):
        f1_report(count([[1]], [[1]], ["a"]), rounds=0)
