"""The preference model by which synthetic users choose items.

A user has a favourite shape, colour and motion. Without replacement, each next item is drawn with

    P(item) ∝ popularity(item) · exp( Σ_a strength_a · [item's a = user's favourite a] )

for a in shape, colour, motion. Popularity is a mild Zipf law: rank ** -0.3.

U users, N items.
"""

from collections.abc import Mapping, Sequence
from types import MappingProxyType

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

# Strong enough that five items reveal the taste, weak enough that no list of ten contains every choice.
STRENGTHS = MappingProxyType({"shape": 2.5, "colour": 2.5, "motion": 2.5})
ZIPF_EXPONENT = 0.3

SHORTEST_SEQUENCE = 5
LONGEST_SEQUENCE = 40

FloatArray = NDArray[np.float64]
Words = Sequence[str]


def log_popularity(items: int, rng: Generator) -> FloatArray:
    """The logarithm (N,) of a Zipf law over a random ranking of the items."""
    return -ZIPF_EXPONENT * np.log(rng.permutation(items) + 1.0)


def log_utilities(
    items: Mapping[str, Words],
    favourites: Mapping[str, Words],
    popularity: FloatArray,
    strengths: Mapping[str, float],
) -> FloatArray:
    """The logarithm of the unnormalised choice probabilities, (U, N).

    Args:
        items: for each attribute, the value of each item (N).
        favourites: for each attribute, the favourite of each user (U).
        popularity: log popularity of each item (N,).
        strengths: weight of each attribute; omitted attributes have weight 0.
    """
    users = len(next(iter(favourites.values())))
    scores = np.tile(popularity, (users, 1))
    for attribute, strength in strengths.items():
        wanted = np.asarray(favourites[attribute])[:, None]
        scores += strength * (wanted == np.asarray(items[attribute])[None, :])
    return scores


def sequence_length(items: int, rng: Generator) -> int:
    """Draws a length: at least 5, median 6, mean about 7.2, with a tail limited to 40 and half of the catalogue."""
    excess = int(rng.lognormal(mean=0.42, sigma=1.05))
    return min(SHORTEST_SEQUENCE + excess, LONGEST_SEQUENCE, items // 2)


def choose(utilities: FloatArray, length: int, rng: Generator) -> list[int]:
    """Draws `length` item rows in order, without replacement, ∝ exp(utilities) (N,).

    Sorting after adding Gumbel noise is equivalent to drawing one by one with renormalisation.
    """
    noisy = utilities + rng.gumbel(size=len(utilities))
    return [int(row) for row in np.argsort(-noisy, kind="stable")[:length]]
