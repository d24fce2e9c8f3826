"""An item encoder and a sequence encoder, joined by a dot product.

B sequences, L inputs, U items that a process encodes for a batch, M columns of its loss, R real positions,
E embedding.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.inputs.batch import Batch
from models.losses.softmax import in_batch_loss, softmax_loss
from models.machine.parallel import gather_with_gradient


class Recommender(nn.Module):
    """Scores items for a sequence: dot product of the user state and the item embedding.

    `forward(batch) -> loss` is what a training loop calls, and what DDP wraps.

    Args:
        item_encoder: from what it reads of U items to (U, E).
        sequence_encoder: from (B, L, E), (B, L) to (B, L, E); its states at padding are not looked at.
        made_with: what the states of its towers were made with (`models.inputs.provenance`), where that is known. It
            goes where the model goes; nothing is computed from it.
    """

    def __init__(
        self,
        item_encoder: nn.Module,
        sequence_encoder: nn.Module,
        *,
        made_with: dict[str, Any] | None = None,
    ) -> None:
        super().__init__()
        self.made_with = made_with or {}
        self.item_encoder = item_encoder
        self.sequence_encoder = sequence_encoder

    def encode_items(self, features: Any) -> Tensor:
        """Item embeddings, (U, E), of what the item encoder reads."""
        return self.item_encoder(features)

    def encode_sequences(self, items: Tensor, real: Tensor) -> Tensor:
        """User states (B, L, E) after each of the left-padded items (B, L, E), real where true (B, L)."""
        return self.sequence_encoder(items, real)

    def loss(self, ids: Tensor, items: Tensor, log_popularity: Tensor) -> Tensor:
        """The in-batch loss (`models.losses.softmax.in_batch_loss`).

        Args:
            ids: (B, L + 1) rows of `items`, left-padded with 0.
            items: (M, E) item embeddings; row 0 is padding.
            log_popularity: (M,).
        """
        return in_batch_loss(self._states(ids, items), items, ids, log_popularity)

    def forward(self, batch: Batch) -> Tensor:
        """The loss of one batch, a scalar."""
        encoded = self.encode_items(batch.features)
        if batch.shared:
            encoded = gather_with_gradient(encoded)[: len(batch.bias) - 1]
        table = F.pad(encoded, (0, 0, 1, 0))  # row 0: padding
        return softmax_loss(
            self._states(batch.places, table),
            table,
            batch.places,
            batch.rows,
            weights=batch.weights,
            bias=batch.bias,
            log_counts=batch.log_counts,
            hide_own=batch.hide_own,
        )

    def _states(self, ids: Tensor, items: Tensor) -> Tensor:
        """User states after each input, (B, L, E)."""
        inputs = ids[:, :-1]
        # F.embedding: the backward of items[ids] is not deterministic on several CPU threads.
        return self.encode_sequences(F.embedding(inputs, items), inputs != 0)

    @torch.no_grad()
    def encode_users(self, histories: Tensor, items: Tensor) -> Tensor:
        """User states after the last item, (B, E).

        Args:
            histories: (B, L) rows of `items`, left-padded with 0.
            items: (M, E) item embeddings.
        """
        return self.encode_sequences(F.embedding(histories, items), histories != 0)[:, -1]
