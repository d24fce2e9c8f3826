"""The reference's evaluation: every item from its file, and a sort of the catalogue for every user.

N items, C of them in the catalogue, E embedding.
"""

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from benchmarks.reference.files import read_files
from benchmarks.reference.network import Reference
from toolkit.splits import Evaluation

AT_ONCE = 512


@torch.no_grad()
def encode_items(network: Reference, files: Path, items: int) -> Tensor:
    """Embeddings of items 0 (padding) to N, (N + 1, E)."""
    chunks = torch.arange(items + 1).split(AT_ONCE)
    return torch.cat([network.item_encoder(*read_files(files, c.tolist())) for c in chunks])


@torch.no_grad()
def rank_users(
    network: Reference,
    items: Tensor,
    catalogue: NDArray[np.int32],
    evaluation: Evaluation,
    rows: NDArray[np.int64],
) -> list[int]:
    """Rank of each user's target in the catalogue, 1 for the best; the sort breaks ties.

    Args:
        network: in evaluation mode.
        items: (N + 1, E), of `encode_items`.
        catalogue: (C,) ascending item numbers.
        evaluation: inputs, targets and what is masked.
        rows: which users.
    """
    numbers = torch.from_numpy(catalogue.astype(np.int64))
    inputs = torch.from_numpy(evaluation.inputs[rows].astype(np.int64))
    states = torch.cat(
        [network.sequence_encoder(items[ids], ids)[:, -1] for ids in inputs.split(AT_ONCE)]
    )
    ranks = []
    for row, state in zip(rows.tolist(), states, strict=True):
        target = int(evaluation.targets[row])
        scores = items[numbers] @ state
        for item in set(evaluation.masked(np.array([row]))[0].tolist()) - {0}:
            if item != target or not evaluation.target_can_repeat:
                scores[numbers == item] = -torch.inf
        order = scores.argsort(descending=True)
        ranks.append(int((numbers[order] == target).nonzero()) + 1)
    return ranks
