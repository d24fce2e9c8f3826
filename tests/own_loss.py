"""A loss of one's own, in one file outside the package: binary cross-entropy with sampled negatives."""

import numpy as np
import torch.nn.functional as F
from torch import Tensor

from models.losses import Columns, Examples, LossInputs, LossKind
from toolkit.splits import Splits


class BCE:
    """-log σ(u·v_t) - Σ_j log(1 - σ(u·v_j)) of each position, as SASRec trains (arXiv 1808.09781).

    Args:
        splits: whose catalogue is drawn from.
        negatives: n, items drawn uniformly for each position, none of its own sequence.
    """

    def __init__(self, splits: Splits, *, negatives: int = 1) -> None:
        self.catalogue = splits.catalogue.astype(np.int64)
        self.negatives = negatives

    def columns(self, examples: Examples, seed: tuple[int, ...]) -> Columns:
        """The items of the sequences and those drawn."""
        rng = np.random.default_rng(seed)
        own = examples.sequences[examples.sequence_of_rows(), None, :]  # (R, 1, L + 1)
        drawn = rng.choice(self.catalogue, (len(own), self.negatives))
        while (known := (drawn[:, :, None] == own).any(2)).any():
            drawn[known] = rng.choice(self.catalogue, known.sum())
        items = np.union1d(examples.sequences[examples.sequences != 0], drawn)
        bias = np.zeros(len(items), dtype=np.float32)
        return Columns(items, np.ones_like(items), bias, negatives=drawn)

    def __call__(self, states: Tensor, table: Tensor, batch: LossInputs) -> Tensor:
        """(R, E), (M + 1, E) -> ()."""
        assert batch.negatives is not None
        wanted = (states * F.embedding(batch.targets, table)).sum(1)
        others = (F.embedding(batch.negatives, table) @ states[:, :, None]).squeeze(2)
        return ((F.softplus(-wanted) + F.softplus(others).sum(1)) * batch.weights).sum()


KIND = LossKind(BCE)  # LOSSES["own-bce"] = KIND makes `--train.loss own-bce` known
