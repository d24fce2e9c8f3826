"""Popularity: every user is recommended the items with the most training interactions.

B users, N items.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from models.general.kind import GeneralKind
from models.inputs.interactions import Interactions
from models.inputs.tables import Tables
from models.inputs.users import Users


@dataclass
class PopularitySettings:
    """The recommender, which has no settings.

    Args:
        kind: name of the recommender.
    """

    kind: str = "popularity"


class Popularity(nn.Module):
    """s(u, i) = n_i, the number of training interactions of item i.

    Args:
        items: N.
    """

    counts: Tensor

    def __init__(self, *, items: int) -> None:
        super().__init__()
        self.register_buffer("counts", torch.zeros(items + 1))

    def settings(self) -> dict[str, Any]:
        """Arguments that rebuild the module, as a JSON object."""
        return {"items": len(self.counts) - 1}

    def observe(self, interactions: Interactions, features: Mapping[str, Tensor]) -> None:
        """Counts the interactions of each item."""
        items = torch.from_numpy(interactions.items)
        self.counts = torch.bincount(items, minlength=interactions.item_count + 1).float()

    def tables(self, vectors: Tensor | None) -> Tables:
        """(N + 1, 1): the counts."""
        return Tables(self.counts[:, None])

    def user_vectors(self, users: Users, tables: Tables) -> Tensor:
        """(B, 1): ones."""
        return torch.ones_like(tables.items[:1]).expand(len(users.inputs), 1)


POPULARITY = GeneralKind(
    settings=PopularitySettings,
    module=Popularity,
    noun="a popularity model",
    about=lambda settings: (
        "Items are ranked by their number of training interactions, alike for all users."
    ),
    trains=False,
)
