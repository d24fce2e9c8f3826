import json
import math

import numpy as np
import pytest
import torch
from sklearn.metrics import f1_score

from models.facial.augment import View
from models.facial.calibration import calibration_error, fit_temperatures, fit_thresholds
from models.facial.crop import CropRecipe
from models.facial.network import Described, FaceOutput
from models.facial.trained import FaceRecord, TrainedFaces
from toolkit.facs import facs

RANDOM = np.random.default_rng(0)


def sigmoid(z):
    return 1 / (1 + np.exp(-z))


def test_calibration_error():
    p, y = [[0.05], [0.04], [0.95], [1.0], [0.5]], [[0], [1], [1], [1], [9]]
    # Two frames in the first of ten bins, |0.09 - 1|, and two in the last, |1.95 - 2|, of four.
    assert calibration_error(p, y, bins=10)[0] == pytest.approx((0.91 + 0.05) / 4)
    assert math.isnan(calibration_error([[0.5]], [[9]])[0])


def test_temperatures_calibrate_logits():
    z = RANDOM.normal(size=(20_000, 2))
    labels = (RANDOM.random(z.shape) < sigmoid(z)).astype(int)
    logits = z * [4.0, 0.5]
    temperatures = fit_temperatures(logits, labels)
    np.testing.assert_allclose(temperatures, [4, 0.5], rtol=0.05)
    before, after = (calibration_error(sigmoid(x), labels) for x in (logits, logits / temperatures))
    assert (before > 0.08).all() and (after < 0.015).all()
    labels[:100], logits[:100] = 9, 1e3  # missing
    np.testing.assert_allclose(fit_temperatures(logits, labels), temperatures, rtol=0.05)


def test_thresholds_have_the_highest_f1():
    p = RANDOM.random((60, 2)).round(2)
    labels = (RANDOM.random((60, 2)) < p**2).astype(int)
    for a, threshold in enumerate(fit_thresholds(p, labels)):
        recognised = p[:, a] >= np.arange(0, 1.01, 0.01)[:, None]
        hits = (recognised & (labels[:, a] == 1)).sum(1)
        best = (2 * hits / (recognised.sum(1) + labels[:, a].sum())).max()
        assert f1_score(labels[:, a], p[:, a] >= threshold) == pytest.approx(best)
        assert not np.isclose(p[:, a], threshold).any()
    missing = np.concatenate([labels, np.full((5, 2), 9)])
    extended = np.concatenate([p, np.zeros((5, 2))])
    assert (fit_thresholds(extended, missing) == fit_thresholds(p, labels)).all()
    assert fit_thresholds([[0.9], [0.1]], [[0], [0]]).tolist() == [0.5]


def test_an_au_without_labels_is_refused():
    for fit in (fit_temperatures, fit_thresholds):
        with pytest.raises(ValueError, match="column 1 has no labelled frame"):
            fit([[0.1, 0.2]], [[1, 9]])


@pytest.fixture
def record():
    return FaceRecord(
        view=View(36, 32), recipe=CropRecipe(), dataset={}, fold=1, seen=(), rates=(0.5, 0.5),
        temperatures=(2.0, 1.0), thresholds=(1 - 1e-9, 0.5), beams=3,
    )  # fmt: skip


def test_texts_count_an_au_as_active_from_a_threshold_close_to_1(record):
    """In float32, such a threshold would be 1, and its logit infinite: texts would never state what the column states."""
    trained = TrainedFaces(None, record, facs())
    assert trained.active_from.tolist() == pytest.approx([2 * math.log(1e9), 0], rel=1e-6)
    logits = trained.active_from.numpy()[None] * 1.001
    assert (trained.calibrated(logits) >= record.thresholds).all()


def test_predicted_texts_have_the_beams_of_the_test(record):
    class Network:
        def parameters(self):
            yield torch.zeros(1)

        def describe(self, images, *, beams, active_from):
            output = FaceOutput(torch.zeros(len(images), 2), torch.zeros(len(images), 2, 4))
            return Described(output, None, [f"{beams} beams" for _ in images])

    kept = FaceRecord.from_dict(json.loads(json.dumps(record.as_dict())))
    predicted = TrainedFaces(Network(), kept, facs()).predict(np.zeros((1, 36, 36, 3), np.uint8))
    assert predicted.face_texts == ["3 beams"]
