"""What general recommenders learn: tastes for blocks of items, and nothing where there are none."""

from collections.abc import Callable
from functools import partial
from typing import Any

import own_loss
import pytest
import torch
from tastes import (
    CHANCE,
    ITEMS,
    USERS,
    L,
    block_tastes,
    features_of_blocks,
    hit_rate,
    no_tastes,
    train_general,
)
from torch import Tensor, nn

from models import IdEmbedding
from models.general import GENERAL, GeneralRecommender
from models.losses.candidates import Full, InBatch
from models.losses.loss import Loss
from models.losses.pairwise import BCE, BPR
from toolkit.splits import Splits

E = 16
bce = partial(BCE, count=4, by="uniform")
bpr = partial(BPR, count=4, by="uniform")
CASES: dict[str, tuple[str, dict[str, Any], Callable[[Splits], Loss], dict[str, Any]]] = {
    "mf": ("dssm", {}, InBatch, {}),
    "dssm": ("dssm", {"layers": 1}, bpr, {"decay": 0.1}),
    "youtubednn": ("youtubednn", {}, InBatch, {}),
    "vbpr": ("vbpr", {}, bpr, {}),
    "fm": ("fm", {}, bce, {"decay": 0.1}),
    "nfm": ("nfm", {}, InBatch, {}),
    "nfm-bce": ("nfm", {}, bce, {}),
    "deepfm": ("deepfm", {}, Full, {}),
}


class OfFeatures(nn.Linear):
    """`{"id": (U,)}` -> (U, E), by the features of the items."""

    def __init__(self) -> None:
        features = features_of_blocks(noise=0.1)["title"]
        super().__init__(features.shape[1], E, bias=False)
        self.register_buffer("features", features)

    def forward(self, numbers: dict[str, Tensor]) -> Tensor:  # type: ignore[override]
        return super().forward(self.features[numbers["id"]])


def trained(
    name: str,
    settings: dict[str, Any],
    loss: Callable[[Splits], Loss],
    options: dict[str, Any],
    data: tuple[Any, Any],
    item_encoder: nn.Module | None = None,
) -> GeneralRecommender:
    kind = GENERAL[name]
    with torch.random.fork_rng():
        torch.manual_seed(0)
        chosen = kind.settings(**settings)
        model = kind.build(chosen, users=USERS, items=ITEMS, embedding_dim=E, max_len=L)
        if kind.reads == "vectors" and item_encoder is None:
            item_encoder = IdEmbedding(ITEMS, embedding_dim=E)
    features = features_of_blocks()
    return train_general(
        model, data[0], item_encoder=item_encoder, loss=loss, features=features, **options
    )


@pytest.mark.parametrize("case", CASES)
def test_tastes_are_learnt(case: str) -> None:
    data = block_tastes()
    assert hit_rate(trained(*CASES[case], data), *data) > 0.9


@pytest.mark.parametrize("case", CASES)
def test_without_tastes_it_stays_at_chance(case: str) -> None:
    data = no_tastes()
    four_errors = 4 * (CHANCE * (1 - CHANCE) / USERS) ** 0.5
    assert hit_rate(trained(*CASES[case], data), *data) < CHANCE + four_errors


def test_untrained_it_is_at_chance() -> None:
    data = block_tastes()
    assert hit_rate(trained("dssm", {}, InBatch, {"epochs": 0}, data), *data) < 0.2


@pytest.mark.parametrize("name", ["dssm", "youtubednn"])
def test_tastes_are_learnt_by_content(name: str) -> None:
    data = block_tastes()
    model = trained(name, {}, InBatch, {"decay": 0.1}, data, OfFeatures())
    assert hit_rate(model, *data) > 0.9


def test_a_loss_for_dot_products_alone_trains_a_model_of_dot_products() -> None:
    data = block_tastes()
    trained("dssm", {}, own_loss.BCE, {"epochs": 1}, data)
    with pytest.raises(TypeError, match="scores"):
        trained("nfm", {}, own_loss.BCE, {"epochs": 1}, data)
