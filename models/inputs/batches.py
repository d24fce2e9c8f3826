"""The layout of an epoch: the sequences of each step, and the items that each process encodes.

B sequences, L inputs, W processes, G sequences per step in all processes, M columns per step, U items that this
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
from models.inputs.indices import loss_arrays, pad_columns
from models.inputs.sequences import Selected, Sequences, UserSequences
from models.losses.candidates import InBatch, Negatives
from models.losses.loss import Loss
from models.losses.objectives import Examples, Objective, next_item
from models.machine.prefetch import make_each
from models.machine.recompute import Chunks
from toolkit.splits import Splits


class Batches:
    """The training batches of one process.

    Unique items are computed here, on the CPU: the item encoder encodes each item once per step, and never padding.
    The layout is a function of seed and epoch, so every process can compute the layout of all processes without
    communication.

    Args:
        splits: splits with the `train` sequences, and their times if the sequence encoder reads them.
        sequences: what an epoch goes through; by default the training sequence of each user.
        features: inputs of the item encoder.
        batch_size: B, per process; the last batch of an epoch may be smaller.
        seed: seed of the order of users and of sampled items, together with epoch and step alone.
        loss: selects the columns of each step; by default those of the in-batch softmax, the items of the batch.
        objective: selects the predicted positions and their inputs; by default the next item at each position.
        negatives: `local` takes the columns from this process's sequences, `global` from those of all processes,
            which then divide the encoding.
        rank: index of this process.
        world: W, number of processes.
        device: device of the batches.
        accumulation: number of steps per update. A batch's `share` is its fraction of the update's predicted
            positions, over all processes, so the sum of the losses weighted by `share` equals the loss of one large
            batch.
        fixed_sizes: whether batches have few distinct sizes, as CUDA graphs require: always B sequences, all
            positions as rows of the loss, and columns padded to a multiple of 64. Results do not depend on it.
        items_at_once: number of items that the item encoder processes at once (`models.machine.recompute`); 0 for all
            items of a step.
    """

    def __init__(
        self,
        splits: Splits,
        features: Features,
        *,
        sequences: Sequences | None = None,
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
        self.sequences = sequences or UserSequences(splits)
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
        """Indices of the sequences in the order of an epoch, over all processes."""
        return np.random.default_rng([self.seed, epoch]).permutation(len(self.sequences))

    def rows(self, epoch: int, number: int, rank: int) -> NDArray[np.int64]:
        """Indices of the sequences in one batch of process `rank`."""
        size = self.batch_size * self.world
        return self.order(epoch)[number * size : (number + 1) * size][rank :: self.world]

    def users(self, epoch: int, number: int, rank: int) -> NDArray[np.int64]:
        """Rows in the splits of the users of one batch of process `rank`, in order and without repetitions."""
        users = self.sequences.users(self.rows(epoch, number, rank))
        return users[np.sort(np.unique(users, return_index=True)[1])]

    def ends_update(self, number: int) -> bool:
        """Whether an update follows batch `number` (from 0) of an epoch. The last update may have fewer batches."""
        return (number + 1) % self.accumulation == 0 or number + 1 == len(self)

    def shares(self, epoch: int) -> NDArray[np.float64]:
        """(len(self),) each batch's fraction of the predicted positions of its update."""
        order = self.order(epoch)
        counts = [
            len(self.objective(self._step(order, number).items, (self.seed, epoch, number)).rows)
            for number in range(len(self))
        ]
        updates = np.arange(len(self)) // self.accumulation
        return np.array(counts) / np.maximum(np.bincount(updates, counts), 1)[updates]

    def epoch(self, epoch: int, *, first: int = 0) -> Iterator[Batch]:
        """The batches of an epoch, in order, from batch `first`. Prefetched if `features.prefetch` or on a GPU."""
        order = self.order(epoch)
        shares = self.shares(epoch) if self.accumulation > 1 else np.ones(len(self))

        def make(number: int) -> Batch:
            items, times, users = self._step(order, number)
            return self.batch(
                items,
                seed=(self.seed, epoch, number),
                share=float(shares[number]),
                times=times,
                users=users,
            )

        numbers = range(first, len(self))
        prefetch = self.features.prefetch or self.device.type == "cuda"
        return make_each(make, numbers, prefetch=prefetch, device=self.device)

    def _step(self, order: NDArray[np.int64], number: int) -> Selected:
        """The G sequences of one step in all processes."""
        size = self.batch_size * self.world
        return self.sequences.select(order[number * size : (number + 1) * size])

    def batch(
        self,
        sequences: NDArray[np.int32],
        *,
        seed: tuple[int, ...] = (0,),
        share: float = 1.0,
        times: NDArray[np.int64] | None = None,
        users: NDArray[np.int64] | None = None,
    ) -> Batch:
        """This process's batch of a step.

        Args:
            sequences: (G, L + 1) left-padded sequences of all processes; process r has sequences r, r + W, ….
            seed: seed of the step's random choices.
            share: weight of the step in its update.
            times: (G, L + 1) times of the sequences; None if they were not read.
            users: (G,) row of each sequence's user among the training users, from 1; None if the model reads none.
        """
        examples = self.objective(sequences, seed)
        own_rows = examples.sequence_of_rows() % self.world == self.rank
        own = self._own(examples, own_rows)
        shared = self.negatives == "global"
        if shared:
            columns = self.loss.columns(examples, seed)
            if columns.negatives is not None:
                columns = replace(columns, negatives=columns.negatives[own_rows])
        else:
            columns = self.loss.columns(own, (*seed, self.rank))
        weight = self.world / max(len(examples.rows), 1)
        arrays = loss_arrays(own, columns, weight=weight, fixed_sizes=self.fixed_sizes)
        if times is not None:
            mine = times[self.rank :: self.world, : own.inputs.shape[1]]
            arrays["times"] = np.pad(mine, ((0, len(own.inputs) - len(mine)), (0, 0)))
        if users is not None:
            mine = users[self.rank :: self.world]
            arrays["users"] = np.pad(mine, (0, len(own.inputs) - len(mine)))
        if self.fixed_sizes:
            columns = pad_columns(columns)
        items = torch.from_numpy(columns.items)
        if shared:
            items = share_of(items, self.rank, self.world)
        return Batch(
            features=self._features(items),
            items=items,
            shared=shared and self.world > 1,
            share=share,
            **{name: self._to_device(array) for name, array in arrays.items()},
        )

    def _features(self, items: Tensor) -> Any:
        """Features of the items of a step, in chunks if `items_at_once` is set."""
        if not self.items_at_once:
            return self.features.gather(items)
        return Chunks(tuple(map(self.features.gather, items.split(self.items_at_once))))

    def _own(self, examples: Examples, own_rows: NDArray[np.bool_]) -> Examples:
        """This process's examples: every W-th sequence, and the rows selected by `own_rows`.

        A process without sequences receives one sequence of padding, so that every process computes a loss. With
        fixed sizes, padding fills the batch to B sequences.
        """
        length = examples.inputs.shape[1]
        sequences = examples.sequences[self.rank :: self.world]
        inputs = examples.inputs[self.rank :: self.world]
        padding = max((self.batch_size if self.fixed_sizes else 1) - len(sequences), 0)
        if self.world == 1 and not padding:
            return examples
        rows = examples.rows[own_rows]
        return Examples(
            np.pad(sequences, ((0, padding), (0, 0))),
            np.pad(inputs, ((0, padding), (0, 0))),
            rows // length // self.world * length + rows % length,
            examples.targets[own_rows],
        )

    def _to_device(self, array: NDArray) -> Tensor:
        tensor = torch.from_numpy(array)
        if self.device.type == "cuda":  # copies from pinned memory are asynchronous
            return tensor.pin_memory().to(self.device, non_blocking=True)
        return tensor


def share_of(items: Tensor, rank: int, world: int) -> Tensor:
    """One process's consecutive share of M items. All shares have equal length; the last item is repeated as filler."""
    size = -(-len(items) // world)
    return items[torch.arange(rank * size, (rank + 1) * size).clamp(max=len(items) - 1)]
