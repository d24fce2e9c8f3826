"""LightGCN (arXiv 2002.02126): vectors of users and items, averaged over the layers of a linear graph convolution.

B users, S training users, N items, E width of a vector, R rows of a batch.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from models.general.graph import InteractionGraph
from models.general.kind import GeneralKind
from models.general.messages import weighted_sums
from models.general.rows import ids_of_rows, rows_of_users, squares_of_rows
from models.inputs.batch import Batch
from models.inputs.interactions import Interactions
from models.inputs.tables import Tables
from models.inputs.users import Users
from models.parameters import of_ids


@dataclass
class LightGCNSettings:
    """LightGCN.

    Args:
        kind: name of the recommender.
        layers: number of graph convolutions; 0 for matrix factorisation.
        reg_weight: weight of the penalty, half of the squared initial vectors of each row's user, target and negatives.
        repeated: whether repeated interactions of a user with an item count each, as in the code of MicroLens, or once.
    """

    kind: str = "lightgcn"
    layers: int = 3
    reg_weight: float = 1e-4
    repeated: bool = False


class LightGCN(nn.Module):
    """Light graph convolution: E^(k+1) = D^-1/2 A D^-1/2 E^(k), and the mean of E^(0) .. E^(n).

    E^(0) are learned vectors of users and items, A is the adjacency matrix of their interactions, without self-loops, and D
    its degrees. Scores are dot products. The penalty of a batch is reg_weight / 2 · the mean over its rows of
    |e_user|² + |e_target|² + the mean over negatives of |e_negative|², with e of E^(0).

    Args:
        users: S.
        items: N.
        embedding_dim: E.
        layers: n.
        reg_weight: weight of the penalty.
        repeated: whether repeated interactions of a user with an item count each.
        interactions: number of interactions of a saved model.
        initial_std: standard deviation of initial vectors; by default they are Xavier uniform.

    Raises:
        ValueError: if `layers` or `reg_weight` is negative.
    """

    def __init__(
        self,
        *,
        users: int,
        items: int,
        embedding_dim: int = 64,
        layers: int = 3,
        reg_weight: float = 1e-4,
        repeated: bool = False,
        interactions: int = 0,
        initial_std: float | None = None,
    ) -> None:
        super().__init__()
        if layers < 0 or reg_weight < 0:
            raise ValueError(
                f"layers is {layers} and reg_weight {reg_weight}; expected no negative numbers"
            )
        self.layers = layers
        self.reg_weight = reg_weight
        self.graph = InteractionGraph(
            users=users, items=items, interactions=interactions, repeated=repeated
        )
        self.users = of_ids(nn.Embedding(users + 1, embedding_dim))
        self.items = of_ids(nn.Embedding(items + 1, embedding_dim))
        for table in (self.users.weight, self.items.weight):
            if initial_std is None:
                nn.init.xavier_uniform_(table)
            else:
                nn.init.normal_(table, std=initial_std)
            table.data[0] = 0.0

    def settings(self) -> dict[str, Any]:
        """Arguments that rebuild the module (`LightGCN(**settings)`), as a JSON object."""
        return {
            "users": self.graph.users,
            "items": self.graph.items,
            "embedding_dim": self.items.embedding_dim,
            "layers": self.layers,
            "reg_weight": self.reg_weight,
            "repeated": self.graph.repeated,
            "interactions": len(self.graph),
        }

    def observe(self, interactions: Interactions, features: Mapping[str, Tensor]) -> None:
        """Takes the training interactions; `features` are not read.

        Raises:
            UserError: if there is none, or if one has a user or an item outside of the model's.
        """
        self.graph.observe(interactions)

    def tables(self, vectors: Tensor | None = None) -> Tables:
        """The vectors of all items, (N + 1, E), and users, (S + 1, E); `vectors` are not read."""
        adjacency = self.graph.adjacency
        layer = total = torch.cat([self.users.weight, self.items.weight])
        for _ in range(self.layers):
            layer = weighted_sums(adjacency.edges, adjacency.symmetric, layer)
            total = total + layer
        users, items = self.graph.divide(total / (self.layers + 1))
        return Tables(items, users)

    def user_vectors(self, users: Users, tables: Tables) -> Tensor:
        """(B, E) rows of the table of users.

        Raises:
            ValueError: without rows of users.
        """
        return rows_of_users(users, tables)

    def penalty(self, batch: Batch) -> Tensor:
        """The penalty of a batch, a scalar."""
        squares = squares_of_rows(ids_of_rows(batch), self.users.weight, self.items.weight)
        of_users, of_items = (x.sum(1) for x in squares)
        return self.reg_weight / 2 * ((of_users + of_items) * batch.weights).sum()


def _about(settings: LightGCNSettings) -> str:
    return f"LightGCN, {settings.layers} layers, over the graph of training interactions"


LIGHTGCN = GeneralKind(
    settings=LightGCNSettings,
    module=LightGCN,
    noun="a LightGCN model",
    about=_about,
    needs_user=True,
)
