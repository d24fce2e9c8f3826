import numpy as np
import pytest

from models.facial import training_rates, weights_of_rates
from toolkit.errors import UserError

AUS = (1, 12)
LABELS = [[1, 0], [0, 9], [0, 1], [9, 1], [1, 0]]
SUBJECTS = ["F001", "F001", "M002", "M002", "M003"]


def test_rates_are_of_training_subjects_and_labelled_frames():
    training = {"F001", "M002"}
    rates = training_rates(LABELS, SUBJECTS, training=training, aus=AUS)
    np.testing.assert_allclose(rates, [1 / 3, 2 / 3])
    changed = [*LABELS[:4], [0, 1]]  # of a subject that is not in training
    assert (training_rates(changed, SUBJECTS, training=training, aus=AUS) == rates).all()


def test_weights_are_inverse_rates_that_sum_to_the_number_of_aus():
    weights = weights_of_rates([1 / 3, 2 / 3, 1 / 6])
    np.testing.assert_allclose(weights, np.array([3, 1.5, 6]) * 3 / 10.5)


def test_what_cannot_be_learned_is_refused():
    with pytest.raises(UserError, match="AU12 is active in none of the 1 labelled frames"):
        training_rates(LABELS, SUBJECTS, training={"F001"}, aus=AUS)
    with pytest.raises(UserError, match="none of 5 frames is of the 1 training subjects"):
        training_rates(LABELS, SUBJECTS, training={"F009"}, aus=AUS)
