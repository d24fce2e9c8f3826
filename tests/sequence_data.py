"""Short sequences that can be learnt, or not, and a few epochs of training on them."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from models import IdEmbedding, Recommender
from models.inputs.batches import Batches
from models.inputs.features import ItemNumbers
from models.losses.candidates import Full
from models.losses.loss import Loss
from models.losses.objectives import Objective, masked_item, next_item
from toolkit.splits import Splits

ITEMS = 12
L = 6
E = 16
Ints = NDArray[np.int32]


def real_of(*lengths: int, length: int = L) -> Tensor:
    """(B, L), true at the last positions of each row."""
    return torch.arange(length) >= length - torch.tensor(lengths)[:, None]


def circle(seed: int) -> Ints:
    """(128, L + 1): each item is followed by the next number; sequences of different lengths."""
    rng = np.random.default_rng(seed)
    items = ((rng.integers(ITEMS, size=(128, 1)) + np.arange(L + 1)) % ITEMS + 1).astype(np.int32)
    items[np.arange(L + 1) < rng.integers(0, L - 1, size=(128, 1))] = 0
    return items


def noise(seed: int) -> Ints:
    """(128, L + 1) random items; chance is 1/12."""
    return np.random.default_rng(seed).integers(1, ITEMS + 1, size=(128, L + 1)).astype(np.int32)


def times_of(sequences: Ints) -> NDArray[np.int64]:
    """Times in milliseconds: gaps of seconds to months, some of them equal; 0 at padding."""
    rng = np.random.default_rng(7)
    gaps = 1000 * np.floor(np.exp(rng.uniform(-1, 16, size=sequences.shape))).astype(np.int64)
    return np.where(sequences != 0, 1_600_000_000_000 + gaps.cumsum(axis=1), 0)


def splits_of(sequences: Ints, items: int = ITEMS) -> Splits:
    """The parts of splits that batches and losses read."""
    counts = np.bincount(sequences.ravel(), minlength=items + 1)
    counts[0] = 0
    made: Any = SimpleNamespace(
        train=sequences,
        train_times=times_of(sequences),
        train_counts=counts,
        catalogue=np.arange(1, items + 1, dtype=np.int32),
        user_ids=[f"u{user}" for user in range(len(sequences))],
    )
    return made


def hide(sequences: Ints, seed: tuple[int, ...]) -> Any:
    """Masked items with the default ratio of the tests."""
    return masked_item(sequences, seed, mask_ratio=0.3)


def batches(
    sequences: Ints, loss: Loss, objective: Objective = next_item, **options: Any
) -> Batches:
    """Batches of 32 sequences over the items' numbers."""
    return Batches(
        splits_of(sequences), ItemNumbers(ITEMS), batch_size=32, seed=0, loss=loss, objective=objective, **options
    )  # fmt: skip


def train_model(
    encoder: nn.Module,
    sequences: Ints,
    *,
    epochs: int,
    loss: Loss | None = None,
    items: nn.Module | None = None,
) -> Recommender:
    """A recommender over item vectors, trained with Adam; mask tokens if the encoder takes them.

    `items` is the item encoder, which reads item numbers; by default learned vectors.
    """
    loss = loss or Full(splits_of(sequences))
    with torch.random.fork_rng():
        torch.manual_seed(0)
        items = items or IdEmbedding(ITEMS, embedding_dim=E)
        model = Recommender(items, encoder, criterion=loss).train()
        objective = hide if model.takes_mask else next_item
        laid = batches(sequences, loss, objective)
        optimizer = torch.optim.Adam(model.parameters(), lr=0.02)
        for epoch in range(1, epochs + 1):
            for batch in laid.epoch(epoch):
                optimizer.zero_grad()
                model(batch).backward()
                optimizer.step()
    return model.eval()


def first_hit_share(model: Recommender, sequences: Ints, *, mask_history: bool = False) -> float:
    """The share of sequences whose last item ranks first after the others, which are masked if so chosen."""
    table = model.encode_items({"id": torch.arange(ITEMS + 1)}).detach()
    ids = torch.from_numpy(sequences.astype(np.int64))
    times = torch.from_numpy(times_of(sequences))[:, :-1]
    users = model.encode_users(ids[:, :-1], table, times if model.takes_times else None)
    scores = users @ table.T
    scores[:, 0] = -torch.inf
    if mask_history:
        scores.scatter_(1, ids[:, :-1], -torch.inf)
    return float((scores.argmax(1) == ids[:, -1]).float().mean())
