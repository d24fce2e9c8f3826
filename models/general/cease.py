"""CEASE: EASE whose weights explain the content of items as well as the interactions.

B users, L inputs, C items, N items of a dataset, T towers, D width of features.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.general.ease import Ease
from models.general.kind import GeneralKind
from models.inputs.interactions import Interactions
from models.inputs.tables import Tables
from models.inputs.users import Users
from toolkit.errors import UserError


@dataclass
class CeaseSettings:
    """The recommender.

    Args:
        kind: name of the recommender.
        regularisation: λ.
        content_weight: α, weight of the content of each tower against the interactions.
    """

    kind: str = "cease"
    regularisation: float = 100.0
    content_weight: float = 1000.0

    def __post_init__(self) -> None:
        for key in ("regularisation", "content_weight"):
            value = getattr(self, key)
            if not value > 0:
                raise UserError(f"recommender.{key} is {value}; it must be above 0")


class Cease(nn.Module):
    """EASE with P = (XᵀX + α Σ_t F_t·F_tᵀ + λI)⁻¹ (Jeunen, Van Balen and Goethals 2020, collective EASE).

    The weights reconstruct the interactions X and the features F_t of each tower t, (N, D), from other items. An item
    without interactions has weights through items with similar content. Features are centred, and rows have norm 1;
    an item without content has zeros.

    Args:
        items: N.
        regularisation: λ.
        content_weight: α.
        known: number of items with weights: N after `observe`.
    """

    values_per_score = Ease.values_per_score
    scores_all_items = True

    def __init__(
        self,
        *,
        items: int,
        regularisation: float = 100.0,
        content_weight: float = 1000.0,
        known: int = 0,
    ) -> None:
        super().__init__()
        self.content_weight = content_weight
        self.linear = Ease(items=items, regularisation=regularisation, known=known)

    def settings(self) -> dict[str, Any]:
        """Arguments that rebuild the module, as a JSON object."""
        settings = {**self.linear.settings(), "content_weight": self.content_weight}
        del settings["rank"]
        return settings

    def observe(self, interactions: Interactions, features: Mapping[str, Tensor]) -> None:
        """Computes the weights.

        Args:
            interactions: training interactions.
            features: `{tower: (N + 1, D)}`, row 0 zeros.

        Raises:
            UserError: if they do not fit into memory.
        """
        content = torch.cat([_unit_rows(rows[1:]) for rows in features.values()], dim=1)
        numbers = np.arange(1, interactions.item_count + 1)
        matrix = interactions.matrix()[1:, 1:]
        self.linear.solve(numbers, matrix, added=self.content_weight**0.5 * content)

    def tables(self, vectors: Tensor | None) -> Tables:
        """(N + 1, 1): the item numbers."""
        return self.linear.tables(vectors)

    def user_vectors(self, users: Users, tables: Tables) -> Tensor:
        """(B, L): the inputs; repeated items are padding."""
        return self.linear.user_vectors(users, tables)

    def scores(self, users: Tensor, items: Tensor) -> Tensor:
        """(B, L) histories, (C, 1) item numbers -> (B, C)."""
        return self.linear.scores(users, items)


def _unit_rows(features: Tensor) -> Tensor:
    """Centred features with rows of norm 1, (N, D); zeros for an item without content, whose features are zeros."""
    has_content = features.any(dim=1, keepdim=True)
    mean = features.sum(0) / has_content.sum().clamp(min=1)
    return F.normalize((features - mean) * has_content, dim=1)


CEASE = GeneralKind(
    settings=CeaseSettings,
    module=Cease,
    noun="a CEASE model",
    about=lambda settings: (
        "Items are ranked by linear weights between items (CEASE), computed from training interactions and content, and "
        "summed over the items of a history."
    ),
    reads="features",
    trains=False,
)
