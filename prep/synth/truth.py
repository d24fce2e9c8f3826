"""The oracle: the scores of the generator itself for every item and user.

It reads `truth.json`, which no other code may read, and gives an upper bound for recommenders in tests and benchmarks.
"""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from prep.synth.taste import STRENGTHS, log_utilities

ATTRIBUTES = tuple(STRENGTHS)


def oracle_scores(
    dump: Path, *, attributes: Sequence[str] | None = None
) -> tuple[list[str], list[str], NDArray[np.float64]]:
    """The logarithm of the true unnormalised choice probabilities.

    The oracle ignores attributes that are left out. Because attributes are independent, dropping a term ranks the
    items like the best oracle without this attribute.

    Args:
        dump: a folder that `write_dump` wrote.
        attributes: attributes to use; by default all, which are shape, colour and motion unless the dump has another theme.
            Popularity always counts.

    Returns:
        User ids (U), item ids (N), scores (U, N).

    Raises:
        ValueError: if an attribute is unknown.
    """
    truth = json.loads((dump / "truth.json").read_text(encoding="utf-8"))
    known = list(truth["strengths"])
    attributes = known if attributes is None else attributes
    unknown = sorted(set(attributes) - set(known))
    if unknown:
        raise ValueError(f"unknown attributes {unknown}; choose from {known}")
    items, users = truth["items"], truth["users"]
    scores = log_utilities(
        {name: [item[name] for item in items] for name in known},
        {name: [user[name] for user in users] for name in known},
        np.array([item["log_popularity"] for item in items]),
        {name: truth["strengths"][name] for name in attributes},
    )
    return [user["id"] for user in users], [item["id"] for item in items], scores
