"""The vectors of items and users from which a recommender computes scores.

M items, S training users, E width of a vector.
"""

from typing import NamedTuple

from torch import Tensor


class Tables(NamedTuple):
    """The tables of items and users.

    Args:
        items: (M + 1, E) a vector per item; row 0 is padding.
        users: (S + 1, E) a vector per training user; row 0 is a user without one. None if user vectors are computed from
            histories.
    """

    items: Tensor
    users: Tensor | None = None
