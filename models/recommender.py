"""The recommender: an item encoder and a sequence encoder; scores are dot products of their outputs.

B sequences, L inputs, U items that a process encodes for a batch, M columns of the loss, R predicted positions,
E embedding.
"""

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.general.recommender import GeneralRecommender
from models.inputs.batch import Batch
from models.inputs.tables import Tables
from models.inputs.users import Users
from models.losses.loss import LossInputs
from models.losses.objectives import MASK
from models.losses.softmax import in_batch_loss, softmax_of_batch
from models.machine.parallel import gather_with_gradient
from models.machine.recompute import Chunks, Deferred, encode_in_chunks
from models.machine.sharding import has_shards


class Recommender(nn.Module):
    """Scores items for a sequence: the dot product of user state and item embedding.

    A training loop calls `forward(batch) -> loss`, and DDP wraps it.

    Args:
        item_encoder: features of U items -> (U, E).
        sequence_encoder: (B, L, E), (B, L) -> (B, L, E); its states at padding are ignored. An encoder that declares
            `takes_mask = True` predicts hidden items. It has a third argument, (B, L) true at a mask token, a vector of
            its own for that token, and accepts one input more than the longest history. An encoder that declares
            `takes_times = True` has a keyword argument `times`, (B, L) times of the inputs in milliseconds. An encoder that
            reads neither may have `last_states`, (B, L, E), (B, L) -> (B, E), which ranking calls in evaluation mode.
        criterion: states (R, E), table (M + 1, E), batch -> loss (`models.losses.loss.Loss`); by default the softmax
            over the columns of the batch. It is not saved with the model.
        made_with: provenance of the towers' states (`models.inputs.provenance`), if known. It is saved with the model
            and used in no computation.
    """

    own_scores: None = None

    def __init__(
        self,
        item_encoder: nn.Module,
        sequence_encoder: nn.Module,
        *,
        criterion: Callable[[Tensor, Tensor, LossInputs], Tensor] = softmax_of_batch,
        made_with: dict[str, Any] | None = None,
    ) -> None:
        super().__init__()
        self.made_with = made_with or {}
        self.item_encoder = item_encoder
        self.sequence_encoder = sequence_encoder
        self.criterion = criterion
        self.takes_mask = getattr(sequence_encoder, "takes_mask", False)
        self.takes_times = getattr(sequence_encoder, "takes_times", False)
        self.deferred: Deferred | None = None
        self.encoded: Tensor | None = None  # (U, E) of the last training step, without a graph

    def encode_items(self, features: Any) -> Tensor:
        """Item embeddings, (U, E), from the features of U items; in chunks if the features are `Chunks`.

        The gradients of chunks of a sharded encoder need `finish_backward` after the backward pass.
        """
        if not isinstance(features, Chunks):
            return self.item_encoder(features)
        if not has_shards(self.item_encoder):
            return encode_in_chunks(self.item_encoder, features)
        device = next(self.sequence_encoder.parameters()).device
        self.deferred = Deferred(self.item_encoder, features, device=device)
        return self.deferred.embeddings

    def finish_backward(self) -> None:
        """Called after the backward pass of a step: the gradients of what was deferred."""
        if self.deferred is not None:
            self.deferred.backward()
            self.deferred = None

    def encode_sequences(
        self,
        items: Tensor,
        real: Tensor,
        masked: Tensor | None = None,
        times: Tensor | None = None,
    ) -> Tensor:
        """User states (B, L, E) after each input; at each input, if the sequence encoder uses mask tokens.

        Args:
            items: (B, L, E) embeddings of left-padded inputs; any value at a mask token.
            real: (B, L) false at padding.
            masked: (B, L) true at a mask token; None if the sequence encoder does not use them.
            times: (B, L) milliseconds since 1970; ignored if the sequence encoder does not read them.

        Raises:
            ValueError: if the sequence encoder reads times and there are none.
        """
        arguments = [items, real] if masked is None else [items, real, masked]
        if not self.takes_times:
            return self.sequence_encoder(*arguments)
        if times is None:
            raise ValueError(
                f"{type(self.sequence_encoder).__name__} reads the times of the inputs, and there are none"
            )
        return self.sequence_encoder(*arguments, times=times)

    def loss(self, ids: Tensor, items: Tensor, log_popularity: Tensor) -> Tensor:
        """The in-batch loss (`models.losses.softmax.in_batch_loss`).

        Args:
            ids: (B, L + 1) rows of `items`, left-padded with 0.
            items: (M, E) item embeddings; row 0 is padding.
            log_popularity: (M,).
        """
        return in_batch_loss(self._states(ids[:, :-1], items), items, ids, log_popularity)

    def forward(self, batch: Batch) -> Tensor:
        """The loss of one batch, a scalar."""
        encoded = self.encode_items(batch.features)
        self.encoded = encoded.detach()
        if batch.shared:
            encoded = gather_with_gradient(encoded)[: len(batch.bias) - 1]
        table = F.pad(encoded, (0, 0, 1, 0))  # row 0: padding
        states = self._states(batch.inputs, table, batch.times)
        states = states.flatten(0, 1).index_select(0, batch.rows)
        with torch.autocast(states.device.type, enabled=False):
            return self.criterion(states.float(), table.float(), batch)

    def _states(self, inputs: Tensor, items: Tensor, times: Tensor | None = None) -> Tensor:
        """User states (B, L, E) of inputs (B, L), rows of `items` or MASK."""
        masked = inputs == MASK if self.takes_mask else None
        rows = inputs.clamp(min=0) if self.takes_mask else inputs
        # F.embedding: the backward of items[ids] is not deterministic on several CPU threads.
        return self.encode_sequences(F.embedding(rows, items), inputs != 0, masked, times)

    def tables(self, vectors: Tensor | None) -> Tables:
        """The tables for ranking: items have the vectors of the item encoder, users those of their histories.

        Raises:
            ValueError: if there are no vectors.
        """
        if vectors is None:
            raise ValueError("a sequential recommender ranks the vectors of its item encoder")
        return Tables(vectors)

    def user_vectors(self, users: Users, tables: Tables) -> Tensor:
        """(B, E) vectors of users for ranking; the arguments are those of `encode_users`."""
        return self.encode_users(users.inputs, tables.items, users.times)

    @torch.no_grad()
    def encode_users(self, histories: Tensor, items: Tensor, times: Tensor | None = None) -> Tensor:
        """User states after the last item, (B, E); at an appended mask token, if the sequence encoder uses them.

        Args:
            histories: (B, L) rows of `items`, left-padded with 0.
            items: (M, E) item embeddings.
            times: (B, L) milliseconds since 1970, 0 at padding; required if the sequence encoder reads times. A mask
                token has the time of the last item.
        """
        inputs = F.pad(histories, (0, 1), value=MASK) if self.takes_mask else histories
        if self.takes_mask and times is not None:
            times = torch.cat([times, times[:, -1:]], dim=1)
        last_states = getattr(self.sequence_encoder, "last_states", None)
        if last_states is None or self.training:
            return self._states(inputs, items, times)[:, -1]
        states: Tensor = last_states(F.embedding(inputs, items), inputs != 0)
        return states


Model = Recommender | GeneralRecommender
