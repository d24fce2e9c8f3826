"""Lays an epoch out: who trains when, and which items each step encodes.

B sequences, L inputs, U unique items of a batch, N items.
"""

from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from models.ahead import make_each
from models.features import Features
from models.recommender import Batch
from toolkit.splits import Splits


def log_popularity(train_counts: NDArray[np.int64]) -> Tensor:
    """Log of each item's share of the training interactions, (N + 1,); 0 for padding.

    Items that never occur in training are never columns of the loss; they count as one here.
    """
    shares = np.log(np.maximum(train_counts, 1) / max(train_counts.sum(), 1))
    shares[0] = 0.0
    return torch.from_numpy(shares.astype(np.float32))


class Batches:
    """The training batches of one process.

    Unique items are found here, on the CPU: each goes through the item encoder once a step,
    padding never.

    Args:
        splits: whose `train` sequences are read.
        features: what the item encoder reads.
        batch_size: B, of each process; the last batch of an epoch may be smaller.
        seed: of the order of users; the order of an epoch depends on nothing else.
        rank: this process.
        world: number of processes.
        device: where batches are wanted.
    """

    def __init__(
        self,
        splits: Splits,
        features: Features,
        *,
        batch_size: int,
        seed: int,
        rank: int = 0,
        world: int = 1,
        device: torch.device | str = "cpu",
    ) -> None:
        self.sequences = splits.train
        self.features = features
        self.log_popularity = log_popularity(splits.train_counts)
        self.batch_size = batch_size
        self.seed = seed
        self.rank = rank
        self.world = world
        self.device = device

    def __len__(self) -> int:
        per_process = -(-len(self.sequences) // self.world)
        return -(-per_process // self.batch_size)

    def order(self, epoch: int) -> NDArray[np.int64]:
        """Rows of `train` that this process visits in an epoch; equally many in every process."""
        order = np.random.default_rng([self.seed, epoch]).permutation(len(self.sequences))
        wrapped = np.resize(order, -(-len(order) // self.world) * self.world)
        return wrapped[self.rank :: self.world]

    def epoch(self, epoch: int) -> Iterator[Batch]:
        """The batches of an epoch, in order; made ahead where features must be fetched."""
        order = self.order(epoch)
        starts = range(0, len(order), self.batch_size)
        sequences = (self.sequences[order[start : start + self.batch_size]] for start in starts)
        return make_each(self.batch, sequences, ahead=self.features.ahead, device=self.device)

    def batch(self, sequences: NDArray[np.int32]) -> Batch:
        """One batch of (B, L + 1) left-padded sequences."""
        unique, inverse = np.unique(np.append(sequences.ravel(), 0), return_inverse=True)
        items = torch.from_numpy(unique[1:].astype(np.int64))  # unique[0] is padding
        places = torch.from_numpy(inverse[:-1].reshape(sequences.shape).astype(np.int64))
        return Batch(
            features=self.features.gather(items),
            places=places.to(self.device),
            log_popularity=self.log_popularity[unique].to(self.device),
            items=items,
        )
