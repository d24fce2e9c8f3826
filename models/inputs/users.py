"""Users, as a recommender reads them.

B users, L inputs, S training users.
"""

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class Users:
    """B users.

    Args:
        inputs: (B, L) rows of the item table: the newest L items of each history, left-padded with 0.
        rows: (B,) row of each user in a table of the S training users, from 1; 0 for a user outside of it. None if the
            recommender has no such table.
        times: (B, L) times of `inputs` in milliseconds since 1970, 0 at padding; None if they were not read.
    """

    inputs: Tensor
    rows: Tensor | None = None
    times: Tensor | None = None
