"""Histories as sets of items, for models that sum over them.

B users, L inputs.
"""

from torch import Tensor


def newest_occurrences(inputs: Tensor) -> Tensor:
    """(B, L), true at the newest occurrence of each item of a history.

    Args:
        inputs: (B, L) item numbers, the newest last; 0 is padding.

    >>> newest_occurrences(torch.tensor([[0, 5, 6, 5]])).tolist()
    [[False, False, True, True]]
    """
    # A stable sort keeps the order of positions among equal items, so that the last of each group is the newest.
    values, order = inputs.sort(dim=1, stable=True)
    is_last = values != values.roll(-1, dims=1)
    is_last[:, -1] = True
    newest = is_last.new_zeros(inputs.shape).scatter_(1, order, is_last)
    return newest & (inputs != 0)
