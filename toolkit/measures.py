"""Counts and measures that the reports of datasets and of runs share."""

import numpy as np
from numpy.typing import NDArray


def number(count: int, noun: str, plural: str = "") -> str:
    """A count with its noun: `1 item`, `2,000 items`."""
    return f"{count:,} {noun if count == 1 else plural or noun + 's'}"


def spaced(total: int, count: int) -> list[int]:
    """The midpoints of `count` equal parts of 0..total-1, rounded down; all indices if there are fewer.

    >>> spaced(100, 4), spaced(3, 20)
    ([12, 37, 62, 87], [0, 1, 2])
    """
    count = min(count, total)
    return [(2 * part + 1) * total // (2 * count) for part in range(count)]


def gini(ascending: NDArray[np.int64]) -> float | None:
    """Gini coefficient: 0 if all values are equal, near 1 if one value is the total.

    With x sorted ascending and n values: 2 · Σ i·x_i / (n · Σ x_i) − (n + 1) / n.

    >>> gini(np.array([5, 5])), gini(np.array([0, 0, 0, 8]))
    (0.0, 0.75)
    """
    n, total = len(ascending), int(ascending.sum())
    if total == 0:
        return None
    weighted = float(np.arange(1, n + 1, dtype=np.float64) @ ascending)
    return round(2 * weighted / (n * total) - (n + 1) / n, 6)
