"""Pooling of a layer's token states into one vector per item."""

from collections.abc import Callable

import torch
from torch import Tensor


def cls(states: Tensor, mask: Tensor) -> Tensor:
    """The first real token: (B, S, D), (B, S) -> (B, D). BERT's and ViT's [CLS]."""
    return _at(states, mask.int().argmax(dim=1))


def mean(states: Tensor, mask: Tensor) -> Tensor:
    """The mean over real tokens, padding left out: (B, S, D), (B, S) -> (B, D), in float32."""
    real = states.float().masked_fill(mask[:, :, None] == 0, 0)
    return real.sum(dim=1) / mask.sum(dim=1, keepdim=True)


def last(states: Tensor, mask: Tensor) -> Tensor:
    """The last real token, whichever side pads: (B, S, D), (B, S) -> (B, D)."""
    return _at(states, mask.shape[1] - 1 - mask.flip(1).int().argmax(dim=1))


POOLINGS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {"cls": cls, "mean": mean, "last": last}


def _at(states: Tensor, places: Tensor) -> Tensor:
    return states[torch.arange(len(states), device=states.device), places]
