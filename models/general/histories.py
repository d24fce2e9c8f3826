"""Vectors of a history without its order: its mean, and its interactions as in a factorisation machine.

B users, L inputs, M items, E width of a vector.
"""

import torch.nn.functional as F
from torch import Tensor


def mean_of_history(inputs: Tensor, items: Tensor) -> Tensor:
    """The mean of the vectors of each history, (B, E); zeros for an empty history.

    Args:
        inputs: (B, L) rows of `items`, 0 at padding.
        items: (M + 1, E) item vectors; row 0 is not read.
    """
    return F.embedding_bag(inputs, items, mode="mean", padding_idx=0)


def fields_of_history(inputs: Tensor, items: Tensor) -> tuple[Tensor, Tensor]:
    """The parts of the bi-interaction of a history and a candidate that depend on the history alone, (B, E) each.

    The bi-interaction of the fields x, the vectors of a history's items and of the candidate v, is the sum of the
    products of all pairs of fields: ½ ((Σ x)² - Σ x²) = h + s ⊙ v, with the sum s over the history, and
    h = ½ (s² - Σ x²) over the history. So no candidate requires work for each field.

    Args:
        inputs: (B, L) rows of `items`, 0 at padding.
        items: (M + 1, E) item vectors; row 0 is not read.

    Returns:
        s and h.
    """
    total = F.embedding_bag(inputs, items, mode="sum", padding_idx=0)
    squares = F.embedding_bag(inputs, items.square(), mode="sum", padding_idx=0)
    return total, (total.square() - squares) / 2


def newest_occurrences(inputs: Tensor) -> Tensor:
    """(B, L), true at the newest occurrence of each item of a history.

    Args:
        inputs: (B, L) item numbers, the newest last; 0 is padding.

    >>> import torch
    >>> newest_occurrences(torch.tensor([[0, 5, 6, 5]])).tolist()
    [[False, False, True, True]]
    """
    # A stable sort keeps the order of positions among equal items, so that the last of each group is the newest.
    values, order = inputs.sort(dim=1, stable=True)
    is_last = values != values.roll(-1, dims=1)
    is_last[:, -1] = True
    newest = is_last.new_zeros(inputs.shape).scatter_(1, order, is_last)
    return newest & (inputs != 0)
