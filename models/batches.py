"""Lays an epoch out: who trains when, which items each step encodes, and in which process.

B sequences, L inputs, W processes, G sequences of a step in all of them, M columns of a step, U items that this
process encodes, R real positions, N items.
"""

from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from models.ahead import make_each
from models.candidates import Candidates, Columns, InBatch, Negatives
from models.features import Features
from models.recommender import Batch
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
        candidates: which items are columns of the loss; by default those of the batch.
        negatives: whether columns are those of a process's own sequences, or of all processes', which then
            share the encoding of them.
        rank: this process.
        world: W, number of processes.
        device: where batches are wanted.
    """

    def __init__(
        self,
        splits: Splits,
        features: Features,
        *,
        batch_size: int,
        seed: int,
        candidates: Candidates | None = None,
        negatives: Negatives = "local",
        rank: int = 0,
        world: int = 1,
        device: torch.device | str = "cpu",
    ) -> None:
        self.sequences = splits.train
        self.features = features
        self.candidates = candidates or InBatch(splits)
        self.batch_size = batch_size
        self.seed = seed
        self.negatives = negatives
        self.rank = rank
        self.world = world
        self.device = device

    def __len__(self) -> int:
        return -(-len(self.sequences) // (self.batch_size * self.world))

    def order(self, epoch: int) -> NDArray[np.int64]:
        """Rows of `train` in the order in which an epoch visits them, in all processes together."""
        return np.random.default_rng([self.seed, epoch]).permutation(len(self.sequences))

    def rows(self, epoch: int, number: int, rank: int) -> NDArray[np.int64]:
        """Rows of `train` in one batch of any process."""
        size = self.batch_size * self.world
        return self.order(epoch)[number * size : (number + 1) * size][rank :: self.world]

    def epoch(self, epoch: int, *, first: int = 0) -> Iterator[Batch]:
        """The batches of an epoch, in order, from the one numbered `first`; made ahead where features must be fetched."""
        order, size = self.order(epoch), self.batch_size * self.world

        def make(number: int) -> Batch:
            rows = order[number * size : (number + 1) * size]
            return self.batch(self.sequences[rows], seed=(self.seed, epoch, number))

        numbers = range(first, len(self))
        return make_each(make, numbers, ahead=self.features.ahead, device=self.device)

    def batch(self, sequences: NDArray[np.int32], *, seed: tuple[int, ...] = (0,)) -> Batch:
        """This process's part of a step.

        Args:
            sequences: (G, L + 1) left-padded, of all processes: the first is the first one's, and so on in turn.
            seed: of what the step draws.
        """
        own = sequences[self.rank :: self.world]
        if not len(own):  # the others have the last few; this one goes along
            own = np.zeros((1, sequences.shape[1]), dtype=sequences.dtype)
        shared = self.negatives == "global"
        if not shared:
            seed = (*seed, self.rank)
        columns = self.candidates.columns(sequences if shared else own, seed)
        items = torch.from_numpy(columns.items)
        if shared:
            items = share_of(items, self.rank, self.world)
        real = own[:, :-1] != 0
        positions = int((sequences[:, :-1] != 0).sum())
        return Batch(
            features=self.features.gather(items),
            places=self._here(_places(own, columns)),
            rows=self._here(np.flatnonzero(real)),
            bias=self._here(_after_padding(columns.bias, 0.0)),
            log_counts=self._here(_log(_after_padding(columns.counts, 0))),
            hide_own=self.candidates.hide_own,
            shared=shared and self.world > 1,
            weight=self.world * int(real.sum()) / max(positions, 1),
            items=items,
        )

    def _here(self, array: NDArray) -> Tensor:
        return torch.from_numpy(array).to(self.device)


def share_of(items: Tensor, rank: int, world: int) -> Tensor:
    """One process's consecutive share of M items; equally many in each, the last item repeated where they lack."""
    size = -(-len(items) // world)
    return items[torch.arange(rank * size, (rank + 1) * size).clamp(max=len(items) - 1)]


def _places(sequences: NDArray[np.int32], columns: Columns) -> NDArray[np.int64]:
    """For each position, 1 + the index of its item among the columns; 0 for padding."""
    return np.where(sequences != 0, np.searchsorted(columns.items, sequences) + 1, 0)


def _after_padding(values: NDArray, padding: float) -> NDArray:
    return np.concatenate([np.array([padding], dtype=values.dtype), values])


def _log(counts: NDArray[np.int64]) -> NDArray[np.float32]:
    with np.errstate(divide="ignore"):  # -inf: is no column
        return np.log(counts).astype(np.float32)
