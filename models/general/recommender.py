"""A general recommender: items and users as vectors, without the order of a history.

B users, L inputs, U items that a process encodes for a batch, M columns of the loss, R rows of a batch, N items,
C items, E width of a vector.
"""

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.inputs.batch import Batch
from models.inputs.tables import Tables
from models.inputs.users import Users
from models.losses.loss import Scores
from models.losses.softmax import softmax_of_batch
from models.machine.parallel import gather_with_gradient
from models.machine.recompute import Chunks, encode_in_chunks


class GeneralRecommender(nn.Module):
    """Scores items for a user with a general model, over the vectors of an item encoder if it reads them.

    Args:
        general: the network (`models.general.kind.GeneralModel`).
        item_encoder: features of U items -> (U, E); None if the model does not read an item encoder's vectors.
        criterion: loss (`models.losses.loss.Loss`); by default the softmax over the columns of a batch. It is not saved
            with the model.
        made_with: provenance of the towers' states (`models.inputs.provenance`), if known. It is saved with the model and
            used in no computation.
    """

    general: Any  # nn.Module leaves its type open
    takes_mask = False
    takes_times = False

    def __init__(
        self,
        general: nn.Module,
        *,
        item_encoder: nn.Module | None = None,
        criterion: Callable[..., Tensor] = softmax_of_batch,
        made_with: dict[str, Any] | None = None,
    ) -> None:
        super().__init__()
        self.made_with = made_with or {}
        self.item_encoder = item_encoder
        self.general = general
        self.criterion = criterion
        self.encoded: Tensor | None = None  # (U, E) of the last training step, without a graph

    @property
    def own_scores(self) -> Scores | None:
        """Computes scores that are no dot products; None if they are dot products."""
        if not hasattr(self.general, "scores"):
            return None
        return Scores(
            self.general.scores,
            values_per_score=getattr(self.general, "values_per_score", 1),
            all_items=getattr(self.general, "scores_all_items", False),
        )

    def encode_items(self, features: Any) -> Tensor:
        """Vectors of the item encoder, (U, E), from the features of U items; in chunks if the features are `Chunks`."""
        assert self.item_encoder is not None
        if isinstance(features, Chunks):
            return encode_in_chunks(self.item_encoder, features)
        return self.item_encoder(features)

    def tables(self, vectors: Tensor | None) -> Tables:
        """The tables of items, (N + 1, E), and users for ranking.

        Args:
            vectors: (N + 1, E) from the item encoder; None without one.
        """
        return self.general.tables(vectors)

    def forward(self, batch: Batch) -> Tensor:
        """The loss of one batch, a scalar."""
        tables = self._tables_of(batch)
        with torch.autocast(tables.items.device.type, enabled=False):
            tables = Tables(tables.items.float(), tables.users)
            owners = batch.sequence_of_rows()
            users = Users(
                batch.inputs.index_select(0, owners),
                None if batch.users is None else batch.users.index_select(0, owners),
            )
            states = self.general.user_vectors(users, tables).float()
            own = {} if self.own_scores is None else {"scores": self.own_scores}
            loss = self.criterion(states, tables.items, batch, **own)
            if hasattr(self.general, "penalty"):
                loss = loss + self.general.penalty(batch)
        return loss

    def _tables_of(self, batch: Batch) -> Tables:
        """The tables of the columns of a batch, (M + 1, E), row 0 padding."""
        if self.item_encoder is None:
            whole = self._own_tables(batch.items)
            encoded = whole.items
        else:
            whole = None
            encoded = self.encode_items(batch.features)
        self.encoded = encoded.detach()
        if batch.shared:
            encoded = gather_with_gradient(encoded)[: len(batch.bias) - 1]
        table = F.pad(encoded, (0, 0, 1, 0))
        return self.general.tables(table) if whole is None else Tables(table, whole.users)

    def _own_tables(self, items: Tensor) -> Tables:
        """The tables of a model without an item encoder, with the rows of (U,) items, (U, E)."""
        if hasattr(self.general, "tables_of"):
            return self.general.tables_of(items)
        whole = self.general.tables(None)
        return Tables(whole.items.index_select(0, items), whole.users)

    @torch.no_grad()
    def scores(self, users: Tensor, items: Tensor) -> Tensor:
        """Scores, (B, C), of (B, E) user vectors and (C, E) item vectors."""
        return users @ items.T if self.own_scores is None else self.own_scores(users, items)

    @torch.no_grad()
    def user_vectors(self, users: Users, tables: Tables) -> Tensor:
        """(B, E) vectors of users for ranking.

        Args:
            users: their inputs are item numbers.
            tables: of all N items.
        """
        return self.general.user_vectors(users, tables)
