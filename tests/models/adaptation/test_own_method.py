"""A method that somebody registers without a fork: applied by its name, with settings, saved and loaded."""

from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from models.adaptation import ADAPTATIONS, adapt, check_gradients, method_settings
from models.config import parse_run_config
from models.parameters import rate_groups
from models.sequence import SEQUENCES, SASRec
from toolkit import UserError

NAME = "scale-shift"


@pytest.fixture(scope="module", autouse=True)
def own() -> Iterator[Any]:
    """Importing the module registers its method; afterwards it is gone, so that no other test sees it."""
    yield import_module("own_adaptation")
    del ADAPTATIONS[NAME]


def states(encoder: nn.Module) -> torch.Tensor:
    items = torch.randn(2, 4, 8, generator=torch.Generator().manual_seed(0))
    out: torch.Tensor = encoder(items, torch.ones(2, 4, dtype=torch.bool))
    return out


def test_it_is_applied_by_name_and_is_the_identity_at_first(own: Any) -> None:
    encoder = SASRec(embedding_dim=8, max_len=4).eval()
    before = states(encoder)
    adapt(encoder, NAME, method_settings(NAME, {"places": "attention"}))
    torch.testing.assert_close(states(encoder), before)
    parts = [m for m in encoder.modules() if isinstance(m, own.ScaleShift)]
    assert len(parts) == 2 and {group for group, _ in rate_groups(encoder)} == {"adapter"}
    (states(encoder) * before).sum().backward()
    check_gradients(encoder)


def test_a_run_takes_it(tmp_path: Path) -> None:
    words = ["--item=id", "--data=x", f"--output={tmp_path}", f"--sequence.adapt={NAME}"]
    settings = parse_run_config([*words, "--sequence.adapt_settings={places: feed-forward}"])
    kind = SEQUENCES["sasrec"]
    encoder = kind.build(settings.sequence, embedding_dim=8).eval()
    kind.adapt(encoder, settings.sequence)
    loaded = kind.load(kind.describe(encoder)).eval()
    loaded.load_state_dict(encoder.state_dict())
    assert torch.equal(states(loaded), states(encoder))
    with pytest.raises(UserError, match="adapt_settings names width, and adapt scale-shift has"):
        parse_run_config([*words, "--sequence.adapt_settings={width: 2}"])
