"""A smallest input for an encoder, to see what its outputs depend on and whether a method leaves them as they were."""

import torch
from torch import Tensor, nn

from toolkit.backbones import Encoder
from toolkit.backbones.encoder import Inputs

_LENGTH = 2  # items of a sequence


def sample_outputs(encoder: nn.Module) -> Tensor:
    """States of one item, (1, K, D), or those of one sequence, (1, L, E)."""
    if isinstance(encoder, Encoder):
        return encoder(encoder.prepare([encoder.example]))
    like = next(encoder.parameters())
    width = _sequence_width(encoder)
    items = torch.linspace(-1, 1, _LENGTH * width, device=like.device, dtype=like.dtype)
    real = torch.ones(1, _LENGTH, dtype=torch.bool, device=like.device)
    inputs = [items.view(1, _LENGTH, width), real]
    if getattr(encoder, "takes_mask", False):  # a mask token at the end
        inputs.append(torch.arange(_LENGTH, device=like.device)[None] == _LENGTH - 1)
    if getattr(encoder, "takes_times", False):  # a second apart
        return encoder(*inputs, times=1000 * torch.arange(_LENGTH, device=like.device)[None])
    return encoder(*inputs)


def spare_inputs(encoder: Encoder, count: int) -> list[Inputs]:
    """Inputs of one item, to call an encoder with `count` times for no item of a step."""
    return [encoder.prepare([encoder.example])] * count if count else []


def _sequence_width(encoder: nn.Module) -> int:
    """E, which every sequence encoder names in its settings."""
    return encoder.settings()["embedding_dim"]  # type: ignore[operator]
