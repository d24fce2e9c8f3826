"""Graph recommenders learn tastes, and stay at chance without them."""

from functools import partial
from typing import Any

import pytest
import torch
from tastes import (
    CHANCE,
    ITEMS,
    USERS,
    block_tastes,
    features_of_blocks,
    hit_rate,
    no_tastes,
    train_general,
)

from models.general import GENERAL, GeneralRecommender
from models.losses.pairwise import BPR

bpr = partial(BPR, count=1, by="uniform")
OPTIONS: dict[str, dict[str, Any]] = {
    "lightgcn": {},
    "mmgcn": {"latent": 16},
    "grcn": {"latent": 16},
}
QUICK: dict[str, Any] = {"epochs": 6, "batch_size": 256, "lr": 0.02}
TRAINING = {
    "lightgcn": QUICK,
    "mmgcn": {"epochs": 45, "batch_size": 256, "lr": 0.007},
    "grcn": QUICK,
}


def trained(kind: str, train: Any, **options: Any) -> GeneralRecommender:
    torch.manual_seed(0)
    model = GENERAL[kind].module(users=USERS, items=ITEMS, embedding_dim=16, **OPTIONS[kind])
    return train_general(model, train, loss=bpr, features=features_of_blocks(), **options)


@pytest.mark.parametrize("kind", ["lightgcn", "mmgcn", "grcn"])
def test_tastes_are_learnt(kind: str) -> None:
    train, targets = block_tastes()
    assert hit_rate(trained(kind, train, **TRAINING[kind]), train, targets) > 0.9


@pytest.mark.parametrize("kind", ["lightgcn", "mmgcn", "grcn"])
def test_without_tastes_targets_stay_at_chance(kind: str) -> None:
    train, targets = no_tastes()
    assert hit_rate(trained(kind, train, **TRAINING[kind]), train, targets) < CHANCE + 0.1


@pytest.mark.parametrize("kind", ["lightgcn", "mmgcn", "grcn"])
def test_equal_runs_are_equal_with_two_threads(kind: str) -> None:
    train, _ = block_tastes()
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        first, second = (
            trained(kind, train, epochs=1, batch_size=512).state_dict() for _ in range(2)
        )
    finally:
        torch.set_num_threads(before)
    assert all(torch.equal(first[name], second[name]) for name in first)
