"""Item-kNN: items that occur with the items of a history.

B users, L inputs, C items, N items of a dataset, k neighbours.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from models.general.histories import newest_occurrences
from models.general.kind import GeneralKind
from models.inputs.interactions import Interactions
from models.inputs.tables import Tables
from models.inputs.users import Users
from toolkit.arguments import refuse_below
from toolkit.errors import UserError


@dataclass
class ItemKnnSettings:
    """The recommender.

    Args:
        kind: name of the recommender.
        neighbours: k, most similar items that are kept per item.
        shrink: added to the denominator of a similarity, so that rare items are less similar.
        recency: factor per step into the past of an item's weight; 1 for equal weights.
    """

    kind: str = "item-knn"
    neighbours: int = 100
    shrink: float = 0.0
    recency: float = 1.0

    def __post_init__(self) -> None:
        refuse_below({"neighbours": 1, "shrink": 0}, vars(self), lead="recommender.")
        if not 0 < self.recency <= 1:
            raise UserError(f"recommender.recency is {self.recency}; it must be in (0, 1]")


class ItemKnn(nn.Module):
    """s(u, j) = Σ_i w_i · s_ij over the distinct items i of a history (Sarwar et al. 2001; Deshpande and Karypis 2004).

    s_ij = n_ij / (sqrt(n_i · n_j) + shrink) with n_ij users of both items, for the k most similar items j ≠ i. The newest
    item has weight w = 1, the one before it `recency`, and so on.

    Args:
        items: N.
        neighbours: k.
        shrink: added to the denominator.
        recency: factor per step into the past.
    """

    similar: Tensor
    similarity: Tensor
    values_per_score = 2
    scores_all_items = True

    def __init__(
        self, *, items: int, neighbours: int = 100, shrink: float = 0.0, recency: float = 1.0
    ) -> None:
        super().__init__()
        self.neighbours = neighbours
        self.shrink = shrink
        self.recency = recency
        kept = min(neighbours, items)
        self.register_buffer("similar", torch.zeros(items + 1, kept, dtype=torch.int32))
        self.register_buffer("similarity", torch.zeros(items + 1, kept))

    def settings(self) -> dict[str, Any]:
        """Arguments that rebuild the module, as a JSON object."""
        return {
            "items": len(self.similar) - 1,
            "neighbours": self.neighbours,
            "shrink": self.shrink,
            "recency": self.recency,
        }

    def observe(self, interactions: Interactions, features: Mapping[str, Tensor]) -> None:
        """Computes the similarities, one row of the co-occurrence matrix at a time in memory."""
        users_of_items = interactions.matrix().T.tocsr()
        together = (users_of_items @ users_of_items.T).tocsr()
        together.setdiag(0)
        together.eliminate_zeros()
        counts = np.diff(users_of_items.indptr).astype(np.float64)
        for item in np.flatnonzero(np.diff(together.indptr)):
            row = slice(together.indptr[item], together.indptr[item + 1])
            others = together.indices[row]
            values = together.data[row] / (np.sqrt(counts[item] * counts[others]) + self.shrink)
            # Of equal similarities, those of the lowest item numbers are kept.
            best = np.lexsort((others, -values))[: self.similar.shape[1]]
            self.similar[item, : len(best)] = torch.from_numpy(others[best])
            self.similarity[item, : len(best)] = torch.from_numpy(values[best])

    def tables(self, vectors: Tensor | None) -> Tables:
        """(N + 1, 1): the item numbers."""
        return Tables(torch.arange(len(self.similar), device=self.similar.device)[:, None])

    def user_vectors(self, users: Users, tables: Tables) -> Tensor:
        """(B, L): the inputs; repeated items are padding."""
        return users.inputs * newest_occurrences(users.inputs)

    def scores(self, users: Tensor, items: Tensor) -> Tensor:
        """(B, L) histories, (C, 1) item numbers -> (B, C)."""
        length = users.shape[1]
        ages = torch.arange(length - 1, -1, -1, device=users.device, dtype=torch.float64)
        weights = (self.recency**ages).float()
        values = self.similarity[users] * weights[:, None]
        whole = values.new_zeros(len(users), len(self.similar))
        whole.scatter_add_(1, self.similar[users].flatten(1).long(), values.flatten(1))
        return whole.index_select(1, items[:, 0])


ITEM_KNN = GeneralKind(
    settings=ItemKnnSettings,
    module=ItemKnn,
    noun="an item-kNN model",
    about=lambda settings: (
        "Items are ranked by their similarity, in training interactions, to the items of a history."
    ),
    trains=False,
)
