"""Intensities of action units over the frames of a sequence: smooth, active in a given share of frames.

For each AU, a Gaussian process z of unit variance crosses the quantile q = Φ⁻¹(1 - rate) in a share `rate` of frames. The
intensity 2 + 4 (z - q), cut to 0 to 5, is then at least 2, the lowest that counts as active, in this share of frames.
"""

from statistics import NormalDist

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from toolkit.facs import ACTIVE_FROM, HIGHEST_INTENSITY

RATE = 0.35  # of every AU, without an identity shortcut
_SHORTCUT_RATES = (0.04, 0.85)  # of a subject's AUs with a complete shortcut
_SLOPE = 4.0
_SMOOTHNESS = 2.0  # frames: standard deviation of the kernel that smooths the process
_REACH = 8  # frames: half width of this kernel


def draw_rates(units: int, rng: Generator, *, shortcut: float = 0.0) -> NDArray[np.float64]:
    """The rate (A,) at which each AU of a subject is active.

    Args:
        units: A.
        rng: of the subject.
        shortcut: 0 for the same rate for all subjects; 1 for a rate near 0 or near 1, drawn for each subject and AU, so
            that a network that recognises a subject of the training data need not look at its expression.
    """
    own = np.array(_SHORTCUT_RATES)[rng.integers(2, size=units)]
    return (1 - shortcut) * RATE + shortcut * own


def draw_intensities(
    frames: int, rates: NDArray[np.float64], rng: Generator
) -> NDArray[np.float64]:
    """Intensities (F, A), 0 to 5, of a sequence of F frames.

    Args:
        frames: F.
        rates: (A,) share of frames in which each AU is active, above 0 and below 1.
        rng: of the sequence.
    """
    kernel = np.exp(-0.5 * (np.arange(-_REACH, _REACH + 1) / _SMOOTHNESS) ** 2)
    kernel /= np.sqrt(np.sum(kernel**2))
    white = rng.standard_normal((frames + 2 * _REACH, len(rates)))
    process = np.stack([np.convolve(noise, kernel, mode="valid") for noise in white.T], axis=1)
    quantiles = np.array([NormalDist().inv_cdf(1 - rate) for rate in rates])
    return np.clip(ACTIVE_FROM + _SLOPE * (process - quantiles), 0, HIGHEST_INTENSITY)
