"""Summary statistics and the formatting of numbers."""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

Ints = NDArray[np.int64]


def spread(values: ArrayLike, counts: NDArray[np.int64] | None = None) -> dict[str, Any] | None:
    """Minimum, median, mean, 95th percentile and maximum; None without numbers.

    The p-th percentile is the smallest value that at least p % of the numbers do not exceed, so
    it is always one of the numbers.

    Args:
        values: the numbers; non-finite numbers are ignored.
        counts: frequency of each number; by default 1.

    >>> spread([3, 1, 2, 2])
    {'min': 1, 'median': 2, 'mean': 2.0, 'p95': 3, 'max': 3}
    """
    numbers = np.asarray(values)
    times = np.ones(len(numbers), np.int64) if counts is None else counts
    present = np.isfinite(numbers) & (times > 0)
    order = np.argsort(numbers[present], kind="stable")
    numbers, times = numbers[present][order], times[present][order]
    if len(numbers) == 0:
        return None
    reached = np.cumsum(times)

    def percentile(percent: int) -> Any:
        needed = -(-int(reached[-1]) * percent // 100)  # rounded up
        return _plain(numbers[np.searchsorted(reached, needed)])

    return {
        "min": _plain(numbers[0]),
        "median": percentile(50),
        "mean": share(float(numbers @ times), int(reached[-1])),
        "p95": percentile(95),
        "max": _plain(numbers[-1]),
    }


def share(part: float, whole: float) -> float | None:
    """`part / whole` rounded to six digits; None if `whole` is 0."""
    return round(part / whole, 6) if whole else None


def utc(milliseconds: int | None) -> str | None:
    """Formats milliseconds since 1970 as ISO 8601, to the second; years may have any length.

    >>> utc(1_600_000_000_000)
    '2020-09-13T12:26:40Z'
    """
    if milliseconds is None:
        return None
    return f"{np.datetime64(milliseconds, 'ms').astype('datetime64[s]')}Z"


def _plain(number: Any) -> int | float:
    """Converts a NumPy number to a Python number for JSON."""
    return int(number) if np.issubdtype(type(number), np.integer) else round(float(number), 6)
