"""Learning-rate groups: a module declares its group, and the optimizer is built from the declarations."""

from collections.abc import Iterator
from typing import TypeVar

from torch import nn

_MATRICES = (nn.Linear, nn.Bilinear, nn.modules.conv._ConvNd)
M = TypeVar("M", bound=nn.Module)


def in_group(module: M, group: str) -> M:
    """Declares the learning-rate group of a module, and of the modules in it that declare none.

    Args:
        module: returned, with the declaration.
        group: a name of the caller's choice; the optimizer requires a rate for it.
    """
    module.rate_group = group  # type: ignore[assignment]
    return module


def count_trainable(module: nn.Module) -> int:
    """The number of trainable parameters of a module."""
    return sum(parameter.numel() for parameter in module.parameters() if parameter.requires_grad)


def decayed(module: nn.Module) -> set[nn.Parameter]:
    """The trainable parameters that weight decay applies to: matrices that multiply a layer's input.

    Biases, normalisations, gates and embeddings do not decay, as is usual (Loshchilov and Hutter 2019 decay all;
    BERT's and later training codes leave these out). A module with such matrices of its own, which is not a class of
    torch, declares `decays = True`.
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
    """Yields every trainable parameter with the group of the innermost module around it that declares one."""
    group = getattr(module, "rate_group", group)
    for parameter in module.parameters(recurse=False):
        if parameter.requires_grad:
            yield group, parameter
    for child in module.children():
        yield from rate_groups(child, group)
