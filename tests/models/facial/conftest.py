"""Tiny networks of faces: a Swin of three stages over 32 pixels, and the texts of three AUs."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from transformers import SwinConfig

from models.facial import VLFAU, StageBackbone, Texts, Vocabulary, vocabulary_of
from toolkit.facs import facs

AUS = (1, 12, 25)
PIXELS = 32
MakeNetwork = Callable[..., VLFAU]


@pytest.fixture(scope="session")
def vocabulary() -> Vocabulary:
    return vocabulary_of(facs(), AUS)


@pytest.fixture(scope="session")
def texts(vocabulary: Vocabulary) -> Texts:
    return Texts(facs(), vocabulary)


@pytest.fixture
def swin() -> SwinConfig:
    return SwinConfig(
        image_size=PIXELS,
        patch_size=4,
        embed_dim=8,
        depths=[1, 1, 1],
        num_heads=[2, 2, 2],
        window_size=2,
        drop_path_rate=0.0,
    )


@pytest.fixture
def make_network(swin: SwinConfig, vocabulary: Vocabulary) -> MakeNetwork:
    """Builds a network with random weights; equal settings have equal weights."""

    def make(**settings: Any) -> VLFAU:
        tiny: dict[str, Any] = {
            "aus": AUS,
            "width": 16,
            "grid_stage": 2,
            "reduction": 4,
            "kernel": 3,
            "vocabulary": vocabulary,
            "shared_decoder": True,
            "decoder_layers": 1,
            "decoder_heads": 2,
            "decoder_dropout": 0.0,
        }
        with torch.random.fork_rng():
            torch.manual_seed(0)
            return VLFAU(StageBackbone.from_config(swin), **(tiny | settings))

    return make


@pytest.fixture(scope="session")
def images() -> torch.Tensor:
    return torch.rand(4, 3, PIXELS, PIXELS, generator=torch.Generator().manual_seed(0))
