"""An item encoder and a sequence encoder, joined by a dot product.

B sequences, L inputs, U items of a batch, E embedding.
"""

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.losses import in_batch_loss


@dataclass(frozen=True)
class Batch:
    """What one training step reads. Every item stands in it once.

    Args:
        features: what the item encoder reads for the U unique items.
        places: (B, L + 1) for each position, 1 + the index of its item among the unique ones; 0 is
            padding.
        log_popularity: (U + 1,) of the unique items; index 0, padding, is 0.
        items: (U,) the unique items' numbers, for messages.
    """

    features: Any
    places: Tensor
    log_popularity: Tensor
    items: Tensor


class Recommender(nn.Module):
    """Scores items for a sequence: dot product of the user state and the item embedding.

    `forward(batch) -> loss` is what a training loop calls, and what DDP wraps.

    Args:
        item_encoder: from what it reads of U items to (U, E).
        sequence_encoder: from (B, L, E), (B, L) to (B, L, E).
    """

    def __init__(self, item_encoder: nn.Module, sequence_encoder: nn.Module) -> None:
        super().__init__()
        self.item_encoder = item_encoder
        self.sequence_encoder = sequence_encoder

    def encode_items(self, features: Any) -> Tensor:
        """Item embeddings, (U, E), of what the item encoder reads."""
        return self.item_encoder(features)

    def encode_sequences(self, items: Tensor, real: Tensor) -> Tensor:
        """User states (B, L, E) after each of the left-padded items (B, L, E), real where true (B, L)."""
        return self.sequence_encoder(items, real)

    def loss(self, ids: Tensor, items: Tensor, log_popularity: Tensor) -> Tensor:
        """The in-batch loss (`models.losses.in_batch_loss`).

        Args:
            ids: (B, L + 1) rows of `items`, left-padded with 0.
            items: (M, E) item embeddings; row 0 is padding.
            log_popularity: (M,).
        """
        inputs = ids[:, :-1]
        # F.embedding: the backward of items[ids] is not deterministic on several CPU threads.
        users = self.encode_sequences(F.embedding(inputs, items), inputs != 0)
        return in_batch_loss(users, items, ids, log_popularity)

    def forward(self, batch: Batch) -> Tensor:
        """The loss of one batch, a scalar."""
        table = F.pad(self.encode_items(batch.features), (0, 0, 1, 0))  # row 0: padding
        return self.loss(batch.places, table, batch.log_popularity)

    @torch.no_grad()
    def encode_users(self, histories: Tensor, items: Tensor) -> Tensor:
        """User states after the last item, (B, E).

        Args:
            histories: (B, L) rows of `items`, left-padded with 0.
            items: (M, E) item embeddings.
        """
        return self.encode_sequences(F.embedding(histories, items), histories != 0)[:, -1]
