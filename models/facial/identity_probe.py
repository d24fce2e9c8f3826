"""A probe of what features tell of a person's identity, which recognition of action units should not depend on.

N frames, F values of a feature vector.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from models.facial.metrics import needs_sklearn


class Probed(NamedTuple):
    """How well a linear model tells subjects apart.

    Args:
        accuracy: share of held-out frames whose subject it tells.
        chance: share of held-out frames of their most frequent subject.
        subjects: number of subjects.
    """

    accuracy: float
    chance: float
    subjects: int


def probe_identity(
    features: ArrayLike,
    subjects: Sequence[str],
    *,
    held_out: ArrayLike,
    regularisation: float = 1.0,
) -> Probed:
    """Fits a logistic regression from standardised features to subjects, and measures it on held-out frames.

    Hold out whole sequences: neighbouring frames of a video are almost equal.

    Args:
        features: (N, ...) features of the frames; further dimensions are flattened.
        subjects: (N,) subject of each frame.
        held_out: (N,) true for frames that the probe is measured on; false for those that it is fitted on.
        regularisation: strength of the L2 penalty, 1 / C of scikit-learn.

    Raises:
        UserError: if scikit-learn is not installed.
        ValueError: if fewer than two subjects remain, or a held-out subject has no frame to fit.
    """
    try:
        from sklearn.linear_model import LogisticRegression
        from sklearn.pipeline import make_pipeline
        from sklearn.preprocessing import StandardScaler
    except ImportError as error:
        raise needs_sklearn("the identity probe") from error
    values, names = np.asarray(features), np.asarray(subjects)
    values, measured = values.reshape(len(values), -1), np.asarray(held_out, dtype=bool)
    fitted, others = set(names[~measured].tolist()), set(names[measured].tolist())
    if len(fitted) < 2 or not others or others - fitted:
        raise ValueError(
            f"the probe has {len(fitted)} subjects to fit and {len(others)} held out, of which {len(others - fitted)} have "
            "no frame to fit; expected two subjects or more, with frames of each on both sides"
        )
    model = make_pipeline(StandardScaler(), LogisticRegression(C=1 / regularisation, max_iter=1000))
    model.fit(values[~measured], names[~measured])
    _, frequency = np.unique(names[measured], return_counts=True)
    return Probed(
        float(model.score(values[measured], names[measured])),
        float(frequency.max() / frequency.sum()),
        len(fitted),
    )
