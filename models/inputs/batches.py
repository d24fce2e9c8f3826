"""Lays an epoch out: who trains when, which items each step encodes, and in which process.

B sequences, L inputs, W processes, G sequences of a step in all of them, M columns of a step, U items that this
process encodes, R predicted positions (rows), n negatives per row, N items.
"""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from models.inputs.batch import Batch
from models.inputs.features import Features
from models.inputs.indices import filled_up, loss_arrays
from models.losses.candidates import InBatch, Negatives
from models.losses.loss import Loss
from models.losses.objectives import Examples, Objective, next_item
from models.machine.prefetch import make_each
from models.machine.recompute import Chunks
from toolkit.splits import Splits


class Batches:
    """The training batches of one process.

    Unique items are found here, on the CPU: each goes through the item encoder once a step,
    padding never. The layout of all processes is a function of seed and epoch, so each knows that of the
    others without asking.

    Args:
        splits: whose `train` sequences are read.
        features: what the item encoder reads.
        batch_size: B, of each process; the last batch of an epoch may be smaller.
        seed: of the order of users and of drawn items; they depend on nothing else but epoch and step.
        loss: chooses the columns of each step; by default the in-batch softmax's, the items of the batch.
        objective: which positions are predicted, from which inputs; by default each position's next item.
        negatives: whether columns are those of a process's own sequences, or of all processes', which then
            share the encoding of them.
        rank: this process.
        world: W, number of processes.
        device: where batches are wanted.
        accumulation: steps that make one update together. Each batch's `share` is its part of their positions, in
            all processes, so that the sum of losses by their shares is the loss of one batch of all of them.
        fixed_sizes: whether batches come in few sizes, as CUDA graphs require: always B sequences, all positions as
            rows of the loss, and columns filled up with padding to a multiple of 64. No result depends on it.
        items_at_once: how many items the item encoder takes at a time (`models.machine.recompute`); 0 for all of a step.
    """

    def __init__(
        self,
        splits: Splits,
        features: Features,
        *,
        batch_size: int,
        seed: int,
        loss: Loss | None = None,
        objective: Objective = next_item,
        negatives: Negatives = "local",
        rank: int = 0,
        world: int = 1,
        device: torch.device | str = "cpu",
        accumulation: int = 1,
        fixed_sizes: bool = False,
        items_at_once: int = 0,
    ) -> None:
        self.sequences = splits.train
        self.features = features
        self.loss = loss or InBatch(splits)
        self.objective = objective
        self.batch_size = batch_size
        self.seed = seed
        self.negatives = negatives
        self.rank = rank
        self.world = world
        self.device = torch.device(device)
        self.accumulation = accumulation
        self.fixed_sizes = fixed_sizes
        self.items_at_once = items_at_once

    def __len__(self) -> int:
        return -(-len(self.sequences) // (self.batch_size * self.world))

    def order(self, epoch: int) -> NDArray[np.int64]:
        """Rows of `train` in the order in which an epoch visits them, in all processes together."""
        return np.random.default_rng([self.seed, epoch]).permutation(len(self.sequences))

    def rows(self, epoch: int, number: int, rank: int) -> NDArray[np.int64]:
        """Rows of `train` in one batch of any process."""
        size = self.batch_size * self.world
        return self.order(epoch)[number * size : (number + 1) * size][rank :: self.world]

    def ends_update(self, number: int) -> bool:
        """Whether an update follows a batch of an epoch, numbered from 0: the last group may be smaller."""
        return (number + 1) % self.accumulation == 0 or number + 1 == len(self)

    def shares(self, epoch: int) -> NDArray[np.float64]:
        """(len(self),) each batch's part of the predicted positions of those that make one update with it."""
        order = self.order(epoch)
        each = [
            len(self.objective(*self._step(order, epoch, number)).rows)
            for number in range(len(self))
        ]
        groups = np.arange(len(self)) // self.accumulation
        return np.array(each) / np.maximum(np.bincount(groups, each), 1)[groups]

    def epoch(self, epoch: int, *, first: int = 0) -> Iterator[Batch]:
        """The batches of an epoch, in order, from the one numbered `first`; prefetched where features must be fetched."""
        order = self.order(epoch)
        shares = self.shares(epoch) if self.accumulation > 1 else np.ones(len(self))

        def make(number: int) -> Batch:
            sequences, seed = self._step(order, epoch, number)
            return self.batch(sequences, seed=seed, share=float(shares[number]))

        numbers = range(first, len(self))
        prefetch = self.features.ahead or self.device.type == "cuda"
        return make_each(make, numbers, prefetch=prefetch, device=self.device)

    def _step(
        self, order: NDArray[np.int64], epoch: int, number: int
    ) -> tuple[NDArray[np.int32], tuple[int, ...]]:
        """A step's sequences in all processes, (G, L + 1), and the seed of what it draws."""
        size = self.batch_size * self.world
        rows = order[number * size : (number + 1) * size]
        return self.sequences[rows], (self.seed, epoch, number)

    def batch(
        self, sequences: NDArray[np.int32], *, seed: tuple[int, ...] = (0,), share: float = 1.0
    ) -> Batch:
        """This process's part of a step.

        Args:
            sequences: (G, L + 1) left-padded, of all processes: the first is the first one's, and so on in turn.
            seed: of what the step draws.
            share: of the step in its update.
        """
        everyone = self.objective(sequences, seed)
        here = everyone.sequence_of_rows() % self.world == self.rank
        own = self._own(everyone, here)
        shared = self.negatives == "global"
        if shared:
            columns = self.loss.columns(everyone, seed)
            if columns.negatives is not None:
                columns = replace(columns, negatives=columns.negatives[here])
        else:
            columns = self.loss.columns(own, (*seed, self.rank))
        weight = self.world / max(len(everyone.rows), 1)
        arrays = loss_arrays(own, columns, weight=weight, fixed_sizes=self.fixed_sizes)
        if self.fixed_sizes:
            columns = filled_up(columns)
        items = torch.from_numpy(columns.items)
        if shared:
            items = share_of(items, self.rank, self.world)
        return Batch(
            features=self._features(items),
            items=items,
            shared=shared and self.world > 1,
            share=share,
            **{name: self._here(array) for name, array in arrays.items()},
        )

    def _features(self, items: Tensor) -> Any:
        """What the item encoder reads of the items of a step."""
        if not self.items_at_once:
            return self.features.gather(items)
        return Chunks(tuple(map(self.features.gather, items.split(self.items_at_once))))

    def _own(self, everyone: Examples, here: NDArray[np.bool_]) -> Examples:
        """This process's examples, those of every W-th sequence; `here` selects their rows.

        One sequence of padding where only other processes have sequences left, so that all compute a loss; in fixed
        sizes padding up to B sequences.
        """
        length = everyone.inputs.shape[1]
        sequences = everyone.sequences[self.rank :: self.world]
        inputs = everyone.inputs[self.rank :: self.world]
        lacking = max((self.batch_size if self.fixed_sizes else 1) - len(sequences), 0)
        if self.world == 1 and not lacking:
            return everyone
        rows = everyone.rows[here]
        return Examples(
            np.pad(sequences, ((0, lacking), (0, 0))),
            np.pad(inputs, ((0, lacking), (0, 0))),
            rows // length // self.world * length + rows % length,
            everyone.targets[here],
        )

    def _here(self, array: NDArray) -> Tensor:
        tensor = torch.from_numpy(array)
        if self.device.type == "cuda":  # from pinned memory the copy needs no waiting
            return tensor.pin_memory().to(self.device, non_blocking=True)
        return tensor


def share_of(items: Tensor, rank: int, world: int) -> Tensor:
    """One process's consecutive share of M items; equally many in each, the last item repeated where they lack."""
    size = -(-len(items) // world)
    return items[torch.arange(rank * size, (rank + 1) * size).clamp(max=len(items) - 1)]
