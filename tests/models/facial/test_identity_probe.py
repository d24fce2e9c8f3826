import numpy as np
import pytest

from models.facial.identity_probe import probe_identity

SUBJECTS = [f"F{n % 5:03d}" for n in range(200)]
HELD_OUT = np.arange(200) >= 100
RANDOM = np.random.default_rng(0)


def test_it_tells_subjects_from_features_of_identity():
    identity = np.eye(5)[np.arange(200) % 5].reshape(200, 5, 1)
    noise = RANDOM.normal(size=(200, 5, 2))
    found = probe_identity(
        np.concatenate([3 * identity, noise], axis=2), SUBJECTS, held_out=HELD_OUT
    )
    assert found.accuracy > 0.95 and found.chance == 0.2 and found.subjects == 5


def test_it_stays_at_chance_without():
    found = probe_identity(RANDOM.normal(size=(200, 4)), SUBJECTS, held_out=HELD_OUT)
    assert abs(found.accuracy - found.chance) < 0.15


def test_sides_without_the_same_subjects_are_refused():
    with pytest.raises(ValueError, match="5 held out, of which 2 have no frame to fit"):
        absent = HELD_OUT | np.isin(SUBJECTS, ["F000", "F001"])
        probe_identity(np.zeros((200, 2)), SUBJECTS, held_out=absent)
