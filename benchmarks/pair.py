"""Versa and the plain reference (`benchmarks/reference`) with equal weights over one dataset."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.reference import training
from benchmarks.reference.files import write_files
from benchmarks.reference.network import Reference
from models.build import build, make_features
from models.config import parse_run_config
from models.inputs.batches import Batches
from models.inputs.features import Features
from models.losses.candidates import log_popularity
from models.recommender import Recommender
from models.training.optimizer import make_optimizer
from toolkit.dataset import Dataset, open_dataset
from toolkit.splits import Splits


@dataclass
class Pair:
    """Two recommenders that hold the same, and what both read.

    Args:
        dataset: of both.
        features: what Versa's item encoder reads.
        files: what the reference's reads.
        splits: of the dataset.
        batches: of Versa; the reference takes the same sequences.
        versa: Versa's network.
        reference: the reference's.
        optimizers: Versa's and the reference's.
    """

    dataset: Dataset
    features: Features
    files: Path
    splits: Splits
    batches: Batches
    versa: Recommender
    reference: Reference
    optimizers: tuple[torch.optim.Optimizer, torch.optim.Optimizer]

    def sequences(self, number: int) -> NDArray[np.int32]:
        """The sequences of one batch of the first epoch, (B, L + 1)."""
        return self.batches.sequences[self.batches.rows(1, number, 0)]

    def step_versa(self, sequences: NDArray[np.int32]) -> float:
        """Trains Versa on one batch; its loss."""
        loss = self.versa(self.batches.batch(sequences))
        self.optimizers[0].zero_grad()
        loss.backward()
        self.optimizers[0].step()
        return loss.item()

    def step_reference(self, sequences: NDArray[np.int32]) -> float:
        """Trains the reference on one batch; its loss."""
        return training.step(
            self.reference,
            self.optimizers[1],
            self.files,
            torch.from_numpy(sequences.astype(np.int64)),
            torch.from_numpy(log_popularity(self.splits.train_counts)),
        )


def make_pair(
    data: Path,
    files: Path,
    towers: Sequence[str],
    *,
    batch_size: int,
    dropout: float,
    seed: int = 1,
) -> Pair:
    """Versa as recipe `paper` has it, freshly initialised, and the reference with its weights.

    Args:
        data: dataset folder.
        files: folder for the reference's files, written unless they are there.
        towers: the text tower and the image tower, of one depth and width.
        batch_size: B.
        dropout: of both.
        seed: of weights and of the order of users.
    """
    dataset = open_dataset(data)
    words = ["--config", "paper", "--data", str(data), "--output", "none"]
    words += ["--towers", f"[{', '.join(towers)}]", "--side.modality", f"{{{towers[1]}: image}}"]
    words += ["--train.batch_size", str(batch_size), "--sequence.dropout", str(dropout)]
    config = parse_run_config(words)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        versa = build(config, dataset)
    first = dataset.tower(towers[0])
    reference = Reference(levels=first.layers, width=first.width, dropout=dropout)
    reference.copy_weights(versa.state_dict())
    features = make_features(config, dataset)
    write_files(files, {name: dataset.states(name) for name in towers})
    splits = dataset.splits()
    return Pair(
        dataset=dataset,
        splits=splits,
        features=features,
        files=files,
        batches=Batches(splits, features, batch_size=batch_size, seed=seed),
        versa=versa,
        reference=reference,
        optimizers=(
            make_optimizer(versa, rates=asdict(config.train.rates)),
            training.make_optimizer(reference),
        ),
    )
