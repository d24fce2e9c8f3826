"""Which texts go through an encoder together."""

from collections.abc import Iterator, Sequence


def by_length(lengths: Sequence[int], budget: int) -> Iterator[list[int]]:
    """Rows of texts that are about as long, so that little of a batch is padding.

    The longest come first: what does not fit the memory shows at once.

    Args:
        lengths: tokens of each text.
        budget: tokens of a batch, padding counted; a text that is longer goes alone.

    >>> list(by_length([3, 9, 4, 4], budget=8))
    [[1], [2, 3], [0]]
    """
    rows = sorted(range(len(lengths)), key=lambda row: -lengths[row])
    while rows:
        count = max(budget // max(lengths[rows[0]], 1), 1)
        yield rows[:count]
        rows = rows[count:]
