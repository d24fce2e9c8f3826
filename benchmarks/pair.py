"""Versa and the plain reference (`benchmarks/reference`) with equal weights on one dataset."""

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
    """Two recommenders with equal weights, and their data.

    Args:
        dataset: the dataset of both.
        features: input of Versa's item encoder.
        files: input of the reference's item encoder.
        splits: splits of the dataset.
        batches: batches of Versa; the reference reads the same sequences.
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
        return self.batches.sequences.select(self.batches.rows(1, number, 0)).items

    def step_versa(self, sequences: NDArray[np.int32]) -> float:
        """Trains Versa on one batch and returns the loss."""
        loss = self.versa(self.batches.batch(sequences))
        self.optimizers[0].zero_grad()
        loss.backward()
        self.optimizers[0].step()
        return loss.item()

    def step_reference(self, sequences: NDArray[np.int32]) -> float:
        """Trains the reference on one batch and returns the loss."""
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
    """Versa with recipe `paper` and initial weights, and the reference with the same weights.

    Args:
        data: dataset folder.
        files: folder for the reference's files; existing files are reused.
        towers: the text tower and the image tower, with equal depth and width.
        batch_size: B.
        dropout: dropout probability of both.
        seed: seed of the weights and of the order of users.
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
