"""Lays an epoch out: who trains when, which items each step encodes, and in which process.

B sequences, L inputs, W processes, G sequences of a step in all of them, M columns of a step, U items that this
process encodes, R real positions, N items.
"""

from collections.abc import Iterator
from dataclasses import astuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from models.inputs.batch import Batch
from models.inputs.features import Features
from models.losses.candidates import Candidates, Columns, InBatch, Negatives
from models.machine.prefetch import make_each
from toolkit.splits import Splits

SIZES = 64  # columns of fixed sizes come in multiples of it


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
        accumulation: steps that make one update together. Each batch's `share` is its part of their positions, in
            all processes, so that the sum of losses by their shares is the loss of one batch of all of them.
        fixed_sizes: whether batches come in few sizes, as CUDA graphs want them: B always, all positions as rows
            of the loss, and columns filled up with padding to a multiple of 64. No result depends on it.
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
        accumulation: int = 1,
        fixed_sizes: bool = False,
    ) -> None:
        self.sequences = splits.train
        self.features = features
        self.candidates = candidates or InBatch(splits)
        self.batch_size = batch_size
        self.seed = seed
        self.negatives = negatives
        self.rank = rank
        self.world = world
        self.device = torch.device(device)
        self.accumulation = accumulation
        self.fixed_sizes = fixed_sizes

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
        """(len(self),) each batch's part of the positions of those that make one update with it."""
        positions = (self.sequences[self.order(epoch), :-1] != 0).sum(1)
        each = np.add.reduceat(positions, np.arange(len(self)) * self.batch_size * self.world)
        groups = np.arange(len(self)) // self.accumulation
        return each / np.maximum(np.bincount(groups, each), 1)[groups]

    def epoch(self, epoch: int, *, first: int = 0) -> Iterator[Batch]:
        """The batches of an epoch, in order, from the one numbered `first`; made ahead where features must be fetched."""
        order, size = self.order(epoch), self.batch_size * self.world
        shares = self.shares(epoch) if self.accumulation > 1 else np.ones(len(self))

        def make(number: int) -> Batch:
            rows = order[number * size : (number + 1) * size]
            seed = (self.seed, epoch, number)
            return self.batch(self.sequences[rows], seed=seed, share=float(shares[number]))

        numbers = range(first, len(self))
        prefetch = self.features.ahead or self.device.type == "cuda"
        return make_each(make, numbers, prefetch=prefetch, device=self.device)

    def batch(
        self, sequences: NDArray[np.int32], *, seed: tuple[int, ...] = (0,), share: float = 1.0
    ) -> Batch:
        """This process's part of a step.

        Args:
            sequences: (G, L + 1) left-padded, of all processes: the first is the first one's, and so on in turn.
            seed: of what the step draws.
            share: of the step in its update.
        """
        own = self._filled(sequences[self.rank :: self.world])
        shared = self.negatives == "global"
        if not shared:
            seed = (*seed, self.rank)
        columns = self.candidates.columns(sequences if shared else own, seed)
        places = _places(own, columns)
        if self.fixed_sizes:
            columns = filled_up(columns)
        items = torch.from_numpy(columns.items)
        if shared:
            items = share_of(items, self.rank, self.world)
        real = (own[:, :-1] != 0).ravel()
        rows = np.arange(len(real)) if self.fixed_sizes else np.flatnonzero(real)
        positions = max(int((sequences[:, :-1] != 0).sum()), 1)
        return Batch(
            features=self.features.gather(items),
            places=self._here(places),
            rows=self._here(rows),
            weights=self._here((real[rows] * (self.world / positions)).astype(np.float32)),
            bias=self._here(_after_padding(columns.bias, 0.0)),
            log_counts=self._here(_log(_after_padding(columns.counts, 0))),
            hide_own=self.candidates.hide_own,
            shared=shared and self.world > 1,
            items=items,
            share=share,
        )

    def _filled(self, own: NDArray[np.int32]) -> NDArray[np.int32]:
        """One sequence of padding where the others have the last few and this process goes along; B in fixed sizes."""
        lacking = (self.batch_size if self.fixed_sizes else 1) - len(own)
        if lacking <= 0:
            return own
        return np.concatenate([own, np.zeros((lacking, own.shape[1]), dtype=own.dtype)])

    def _here(self, array: NDArray) -> Tensor:
        tensor = torch.from_numpy(array)
        if self.device.type == "cuda":  # from pinned memory the copy needs no waiting
            return tensor.pin_memory().to(self.device, non_blocking=True)
        return tensor


def filled_up(columns: Columns) -> Columns:
    """The columns and, to a multiple of 64, padding that counts for nothing."""
    lacking = -len(columns.items) % SIZES
    return Columns(*(np.pad(each, (0, lacking)) for each in astuple(columns)))


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
