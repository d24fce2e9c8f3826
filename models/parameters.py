"""Learning-rate groups: a module declares its group, the optimizer is built from the declarations."""

from collections.abc import Iterator
from typing import Literal, TypeVar

from torch import nn

RateGroup = Literal["base", "side_block", "image_head", "image_gate", "text_head"]
M = TypeVar("M", bound=nn.Module)


def in_group(module: M, group: RateGroup) -> M:
    """Declares the learning-rate group of a module and of all inside it that declare none."""
    module.rate_group = group  # type: ignore[assignment]
    return module


def count_trainable(module: nn.Module) -> int:
    """How many trainable parameters a module has."""
    return sum(parameter.numel() for parameter in module.parameters() if parameter.requires_grad)


def rate_groups(module: nn.Module, group: str = "base") -> Iterator[tuple[str, nn.Parameter]]:
    """Yields every trainable parameter with the group of its nearest declaring module."""
    group = getattr(module, "rate_group", group)
    for parameter in module.parameters(recurse=False):
        if parameter.requires_grad:
            yield group, parameter
    for child in module.children():
        yield from rate_groups(child, group)
