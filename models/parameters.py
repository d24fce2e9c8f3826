"""Learning-rate groups: modules declare their group, and the optimizer is built from the declarations."""

from collections.abc import Iterator
from typing import TypeVar

from torch import nn

_MATRICES = (nn.Linear, nn.Bilinear, nn.modules.conv._ConvNd)
M = TypeVar("M", bound=nn.Module)


def in_group(module: M, group: str) -> M:
    """Declares the learning-rate group of a module and of its submodules that declare none.

    Args:
        module: the module, which is returned.
        group: name of the group; the optimizer requires a rate for it.
    """
    module.rate_group = group  # type: ignore[assignment]
    return module


def count_trainable(module: nn.Module) -> int:
    """The number of trainable parameters of a module."""
    return sum(parameter.numel() for parameter in module.parameters() if parameter.requires_grad)


def decayed(module: nn.Module) -> set[nn.Parameter]:
    """The trainable parameters to which weight decay applies: matrices that multiply a layer's input.

    Biases, normalisations, gates and embeddings are excluded, as in the training code of BERT and later models
    (Loshchilov and Hutter 2019 include them). A module that has such matrices but is not a torch class declares
    `decays = True`.
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
    """Yields every trainable parameter with its group, which the innermost declaring module around it sets."""
    group = getattr(module, "rate_group", group)
    for parameter in module.parameters(recurse=False):
        if parameter.requires_grad:
            yield group, parameter
    for child in module.children():
        yield from rate_groups(child, group)
