"""What ranking requires of a recommender.

B users, U items, C items, N items of a dataset, E width of a vector.
"""

from collections.abc import Callable
from typing import Any, Protocol

from torch import Tensor, nn

from models.inputs.tables import Tables
from models.inputs.users import Users

Scores = Callable[[Tensor, Tensor], Tensor]  # (B, E) users, (C, E) items -> (B, C)


class Scorer(Protocol):
    """A recommender (`models.recommender`, `models.general.recommender`).

    `own_scores` computes scores that are no dot products, with `values_per_score` values in memory for each of them.
    """

    item_encoder: nn.Module | None
    own_scores: Scores | None
    values_per_score: int

    def encode_items(self, features: Any) -> Tensor:
        """Vectors of the item encoder, (U, E)."""
        ...

    def tables(self, vectors: Tensor | None) -> Tables:
        """The tables of items and users, from the item encoder's vectors of all N items, (N + 1, E)."""
        ...

    def user_vectors(self, users: Users, tables: Tables) -> Tensor:
        """(B, E) vectors of users."""
        ...
