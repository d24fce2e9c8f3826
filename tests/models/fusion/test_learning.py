"""Every fusion learns a predictable sequence from the content of one tower, and nothing of random sequences."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from sequence_data import ITEMS, E, L, circle, first_hit_share, noise, train_model
from torch import Tensor, nn

from models import FUSIONS, SASRec
from toolkit.backbones.token_states import TokenStates

D, S = 8, 2  # width and tokens of the content
SETTINGS: dict[str, dict[str, Any]] = {
    "concat": {"norm": True},
    "sum": {"norm": True, "maps": True},
    "film": {"norm": True},
    "gated": {"norm": True},
    "co-attention": {"dropout": 0.0},
    "merge-attention": {"dropout": 0.0},
}
EPOCHS = {"co-attention": 20}  # its last layer begins near zero


class Content(nn.Module):
    """Items from the tokens of two towers, of which one says the same of all items.

    Args:
        kind: of the fusion.
        constant: the tower that says the same of all items.
    """

    def __init__(self, kind: str, constant: str) -> None:
        super().__init__()
        self.of_tokens = FUSIONS[kind].joins == "tokens"
        generator = torch.Generator().manual_seed(3)
        for name in ("title", "cover"):
            tokens = torch.randn(ITEMS + 1, S, D, generator=generator)
            self.register_buffer(name, tokens[:1].expand_as(tokens) if name == constant else tokens)
        with torch.random.fork_rng():
            torch.manual_seed(0)
            self.heads = nn.ModuleDict({name: nn.Linear(D, E) for name in ("title", "cover")})
            settings = FUSIONS[kind].settings(**SETTINGS[kind])
            self.fusion = FUSIONS[kind].make(settings)(parts=("title", "cover"), embedding_dim=E)

    def forward(self, features: Mapping[str, Tensor]) -> Tensor:
        """`{"id": (U,)}` -> (U, E)."""
        parts = {n: head(self.get_buffer(n)[features["id"]]) for n, head in self.heads.items()}
        if self.of_tokens:
            real = torch.ones(len(features["id"]), S, dtype=torch.bool)
            return self.fusion({n: TokenStates(x, real) for n, x in parts.items()})
        return self.fusion({n: x.mean(dim=1) for n, x in parts.items()})


@pytest.mark.parametrize("kind", SETTINGS)
@pytest.mark.parametrize("constant", ["title", "cover"])
def test_a_fusion_learns_from_the_tower_that_has_content(kind: str, constant: str) -> None:
    share = learned(kind, constant, circle)
    assert share > 0.8


@pytest.mark.parametrize("kind", SETTINGS)
def test_a_fusion_learns_nothing_of_noise(kind: str) -> None:
    assert learned(kind, "cover", noise) < 0.35  # chance is 1/12


def learned(kind: str, constant: str, data: Callable[[int], NDArray[np.int32]]) -> float:
    """The share of new sequences whose last item ranks first."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        encoder = SASRec(embedding_dim=E, max_len=L, blocks=1, dropout=0.0)
    model = train_model(
        encoder, data(0), epochs=EPOCHS.get(kind, 12), items=Content(kind, constant)
    )
    return first_hit_share(model, data(1))
