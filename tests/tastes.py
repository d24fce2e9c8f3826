"""Users with tastes that a general recommender can learn, or none, and a few epochs of training on them.

S users, L + 1 items of a training sequence, N items, D width of features.
"""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from models.general.kind import observe
from models.general.recommender import GeneralRecommender
from models.inputs.batches import Batches
from models.inputs.features import ItemNumbers
from models.inputs.interactions import Interactions
from models.inputs.sequences import InteractionSequences
from models.inputs.users import Users
from models.losses.candidates import InBatch
from models.losses.loss import Loss
from models.losses.objectives import last_item
from toolkit.splits import Splits

Ints = NDArray[np.int32]

BLOCKS = 10
ITEMS_PER_BLOCK = 12
USERS_PER_BLOCK = 32
ITEMS = BLOCKS * ITEMS_PER_BLOCK  # N
USERS = BLOCKS * USERS_PER_BLOCK  # S
L = 6
CHANCE = 10 / (ITEMS - L - 1)  # HR@10 of a random order of the items that are not masked


def block_tastes(seed: int = 0) -> tuple[Ints, Ints]:
    """(S, L + 1) training sequences and (S,) held-out items: each user takes distinct items of one block.

    At most 5 items of the block are neither in the sequence nor held out, so HR@10 can reach 1.
    """
    rng = np.random.default_rng(seed)
    block = np.arange(USERS) % BLOCKS
    drawn = np.stack([rng.permutation(ITEMS_PER_BLOCK)[: L + 2] for _ in range(USERS)])
    items = (1 + block[:, None] + BLOCKS * drawn).astype(
        np.int32
    )  # blocks are not ranges of numbers
    items[np.arange(L + 2) < rng.integers(0, 3, size=(USERS, 1))] = 0
    return items[:, :-1], items[:, -1]


def no_tastes(seed: int = 0) -> tuple[Ints, Ints]:
    """The same with distinct items drawn from the whole catalogue."""
    rng = np.random.default_rng(seed)
    items = np.stack([1 + rng.permutation(ITEMS)[: L + 2] for _ in range(USERS)]).astype(np.int32)
    items[np.arange(L + 2) < rng.integers(0, 3, size=(USERS, 1))] = 0
    return items[:, :-1], items[:, -1]


def features_of_blocks(noise: float = 0.5, seed: int = 0) -> dict[str, Tensor]:
    """`{"title": (N + 1, D)}`, from which an item's block can be read; row 0 zeros."""
    blocks = torch.arange(ITEMS) % BLOCKS
    generator = torch.Generator().manual_seed(seed)
    rows = torch.nn.functional.one_hot(blocks, 2 * BLOCKS).float()
    rows = rows + noise * torch.randn(rows.shape, generator=generator)
    return {"title": torch.nn.functional.pad(rows, (0, 0, 1, 0))}


def splits_of(train: Ints, items: int = ITEMS) -> Splits:
    """The parts of splits that losses and interactions read."""
    counts = np.bincount(train.ravel(), minlength=items + 1)
    counts[0] = 0
    made: Any = SimpleNamespace(
        train=train,
        train_counts=counts,
        catalogue=np.arange(1, items + 1, dtype=np.int32),
        user_ids=[f"u{user}" for user in range(len(train))],
    )
    return made


def train_general(
    model: nn.Module,
    train: Ints,
    *,
    item_encoder: nn.Module | None = None,
    loss: Callable[[Splits], Loss] = InBatch,
    features: dict[str, Tensor] | None = None,
    epochs: int = 8,
    lr: float = 0.03,
    decay: float = 1.0,
    batch_size: int = 128,
) -> GeneralRecommender:
    """A general recommender, trained with AdamW on an example per interaction; `epochs` 0 only lets it observe them.

    Args:
        model: the network, built for `USERS` users and `ITEMS` items.
        train: (S, L + 1) training sequences.
        item_encoder: `{"id": (U,)}` -> (U, E), if the model reads vectors.
        loss: makes the loss from splits.
        features: what a model that reads features observes.
        epochs: of about 16 steps each with the default batch size.
        lr: learning rate.
        decay: weight decay.
        batch_size: examples per step.
    """
    splits = splits_of(train)
    criterion = loss(splits)
    observe(model, Interactions.of(splits), features)
    recommender = GeneralRecommender(model, item_encoder=item_encoder, criterion=criterion).train()
    laid = Batches(
        splits,
        ItemNumbers(ITEMS),
        sequences=InteractionSequences(train),
        batch_size=batch_size,
        seed=0,
        loss=criterion,
        objective=last_item,
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        optimizer = (
            torch.optim.AdamW(recommender.parameters(), lr=lr, weight_decay=decay)
            if epochs
            else None
        )
        for epoch in range(1, epochs + 1):
            for batch in laid.epoch(epoch):
                optimizer.zero_grad()  # type: ignore[union-attr]
                recommender(batch).backward()
                optimizer.step()  # type: ignore[union-attr]
    return recommender.eval()


@torch.no_grad()
def hit_rate(recommender: GeneralRecommender, train: Ints, targets: Ints) -> float:
    """HR@10 of the held-out items among all items outside of the training sequences. Ties count against a target."""
    encoder, model = recommender.item_encoder, recommender.general
    vectors = None if encoder is None else encoder({"id": torch.arange(ITEMS + 1)})
    tables = recommender.tables(vectors)
    rows = torch.from_numpy(train.astype(np.int64))
    inputs, users = rows[:, -L:], torch.arange(1, len(train) + 1)
    states = model.user_vectors(Users(inputs, users), tables)
    score: Any = getattr(model, "scores", lambda users, items: users @ items.mT)
    scores = score(states, tables.items).scatter(1, rows, -torch.inf)
    scores[:, 0] = -torch.inf
    of_targets = scores.gather(1, torch.from_numpy(targets.astype(np.int64))[:, None])
    return float(((scores >= of_targets).sum(1) <= 10).float().mean())
