"""What ranking requires of a recommender.

B users, U items, C items, N items of a dataset, E width of a vector.
"""

from typing import Any, Protocol

from torch import Tensor

from models.inputs.tables import Tables
from models.inputs.users import Users
from models.losses.loss import Scores


class Scorer(Protocol):
    """A recommender (`models.recommender`, `models.general.recommender`)."""

    @property
    def item_encoder(self) -> Any:
        """The module; None without one."""
        ...

    @property
    def own_scores(self) -> Scores | None:
        """Computes the scores; None if they are dot products."""
        ...

    def encode_items(self, features: Any) -> Tensor:
        """Vectors of the item encoder, (U, E)."""
        ...

    def tables(self, vectors: Tensor | None) -> Tables:
        """The tables of items and users, from the item encoder's vectors of all N items, (N + 1, E)."""
        ...

    def user_vectors(self, users: Users, tables: Tables) -> Tensor:
        """(B, E) vectors of users."""
        ...
