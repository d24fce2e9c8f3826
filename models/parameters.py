"""Learning-rate groups: a module declares its group, the optimizer is built from the declarations."""

from collections.abc import Iterator
from typing import Literal, TypeVar

from torch import nn

RateGroup = Literal["base", "side_block", "image_head", "image_gate", "text_head"]
_MATRICES = (nn.Linear, nn.Bilinear, nn.modules.conv._ConvNd)
M = TypeVar("M", bound=nn.Module)


def in_group(module: M, group: RateGroup) -> M:
    """Declares the learning-rate group of a module and of all inside it that declare none."""
    module.rate_group = group  # type: ignore[assignment]
    return module


def count_trainable(module: nn.Module) -> int:
    """How many trainable parameters a module has."""
    return sum(parameter.numel() for parameter in module.parameters() if parameter.requires_grad)


def decayed(module: nn.Module) -> set[nn.Parameter]:
    """The trainable parameters that weight decay pulls to 0: those that multiply what they read, as matrices.

    Biases, normalisations, gates and embeddings are left as they are, as the field does (Loshchilov and Hutter 2019
    decay all; BERT's and later training codes leave these out). A module whose own parameters are such matrices and
    that is none of torch's says so with `decays = True`.
    """
    matrices = [
        parameter
        for part in module.modules()
        if isinstance(part, _MATRICES) or getattr(part, "decays", False)
        for parameter in part.parameters(recurse=False)
        if parameter.ndim > 1
    ]
    return {parameter for parameter in matrices if parameter.requires_grad}


def rate_groups(module: nn.Module, group: str = "base") -> Iterator[tuple[str, nn.Parameter]]:
    """Yields every trainable parameter with the group of its nearest declaring module."""
    group = getattr(module, "rate_group", group)
    for parameter in module.parameters(recurse=False):
        if parameter.requires_grad:
            yield group, parameter
    for child in module.children():
        yield from rate_groups(child, group)
