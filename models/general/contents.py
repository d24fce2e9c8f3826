"""The nodes of a multimodal graph recommender: per tower, the features of items and the preferences of users.

S users, N items, D width of a tower's features, W width of its nodes, E width of an id vector, R rows of a batch.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.general.graph import InteractionGraph
from models.general.rows import ids_of_rows, squares_of_rows
from models.inputs.batch import Batch
from models.inputs.tables import Tables
from models.parameters import of_ids
from toolkit.errors import UserError


class TowerNodes(nn.Module):
    """Vectors of users and items in the space of a tower: learned preferences, and features, mapped if `latent`.

    Args:
        users: S.
        items: N.
        width: D.
        latent: width of a linear map of the features with bias, W; 0 for W = D without a map.
        initial_std: standard deviation of the initial preferences; by default they are Xavier normal.
    """

    features: Tensor

    def __init__(
        self,
        *,
        users: int,
        items: int,
        width: int,
        latent: int = 0,
        initial_std: float | None = None,
    ) -> None:
        super().__init__()
        self.width = latent or width
        self.register_buffer("features", torch.zeros(items + 1, width))
        self.map = nn.Linear(width, latent) if latent else None
        self.preferences = id_table(users, self.width, initial_std)
        if self.map is not None:
            nn.init.xavier_normal_(self.map.weight)
            nn.init.zeros_(self.map.bias)

    def forward(self) -> tuple[Tensor, Tensor]:
        """(S + 1, W) preferences of users, and (N + 1, W) features of items."""
        items = self.features if self.map is None else self.map(self.features)
        return self.preferences.weight, items


class Contents(nn.Module):
    """The nodes of all towers. They are built from the features, or from the widths that a saved model has.

    Args:
        users: S.
        items: N.
        latent: W of each tower, or 0 for W = D.
        latent_of: W of towers that differ, by name.
        widths: D of each tower of a saved model, by name; empty before `observe`.
        initial_std: standard deviation of the initial preferences; by default they are Xavier normal.

    Raises:
        ValueError: if a width is negative.
    """

    def __init__(
        self,
        *,
        users: int,
        items: int,
        latent: int,
        latent_of: Mapping[str, int] | None = None,
        widths: Mapping[str, int] | None = None,
        initial_std: float | None = None,
    ) -> None:
        super().__init__()
        self.users, self.items = users, items
        self.latent, self.latent_of = latent, dict(latent_of or {})
        self.initial_std = initial_std
        for name, width in (("latent", latent), *self.latent_of.items()):
            if width < 0:
                raise ValueError(f"the width of {name} is {width}; expected 0 or a positive number")
        self.towers = nn.ModuleDict()
        self._make(widths or {})

    def __iter__(self) -> Iterator[str]:
        """Names of the towers."""
        return iter(self.towers)

    def __getitem__(self, name: str) -> TowerNodes:
        """The nodes of a tower."""
        return cast(TowerNodes, self.towers[name])

    @property
    def widths(self) -> dict[str, int]:
        """D of each tower."""
        return {name: self[name].features.shape[1] for name in self}

    def observe(self, features: Mapping[str, Tensor]) -> None:
        """Takes the features of each tower, (N + 1, D), row 0 zeros.

        Raises:
            UserError: if there are none, or if `latent_of` has a tower without features.
        """
        unknown = sorted(set(self.latent_of) - set(features))
        if unknown or not features:
            raise UserError(
                f"recommender.latent_of has {', '.join(unknown)}, but the towers are {', '.join(features)}"
                if features
                else "a multimodal graph recommender needs the features of at least one tower"
            )
        self._make({name: states.shape[1] for name, states in features.items()})
        for name, states in features.items():
            self[name].features.copy_(states)

    def _make(self, widths: Mapping[str, int]) -> None:
        for name, width in widths.items():
            self.towers[name] = TowerNodes(
                users=self.users,
                items=self.items,
                width=width,
                latent=self.latent_of.get(name, self.latent),
                initial_std=self.initial_std,
            )


def id_table(count: int, width: int, initial_std: float | None) -> nn.Embedding:
    """A learned vector per number, (count + 1, width), row 0 zeros."""
    table = nn.Embedding(count + 1, width)
    if initial_std is None:
        nn.init.xavier_normal_(table.weight)
    else:
        nn.init.normal_(table.weight, std=initial_std)
    table.weight.data[0] = 0.0
    return of_ids(table)


def tables_of_nodes(nodes: Tensor, graph: InteractionGraph) -> Tables:
    """Tables of items and users from the vectors of all nodes, with zeros in row 0."""
    users, items = (F.pad(table[1:], (0, 0, 1, 0)) for table in graph.divide(nodes))
    return Tables(items, users)


def mean_squares_of_rows(batch: Batch, users: Tensor, items: Tensor) -> Tensor:
    """The mean over rows and E of user² + (target² + the mean over negatives of negative²) / 2, a scalar.

    Args:
        batch: its rows weigh as in the loss.
        users: (S + 1, E).
        items: (N + 1, E).
    """
    of_users, of_items = squares_of_rows(ids_of_rows(batch), users, items)
    return ((of_users + of_items / 2).mean(1) * batch.weights).sum()


def check_penalised(penalised: Sequence[str], contents: Contents) -> list[str]:
    """The towers whose preferences a penalty has: `penalised`, or all if it is empty.

    Raises:
        UserError: if one is no tower of the contents.
    """
    unknown = sorted(set(penalised) - set(contents))
    if unknown:
        raise UserError(
            f"recommender.penalised has {', '.join(unknown)}, but the towers are {', '.join(contents)}"
        )
    return list(penalised) or list(contents)
