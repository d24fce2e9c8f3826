"""Checks after a step that what should train has a gradient, and nothing else has."""

from collections.abc import Iterator
from typing import Literal

import torch
from torch import nn

from toolkit.errors import UserError

When = Literal["at first", "always"]
_NAMED = 3  # parameters named in a message


def expect_zero(module: nn.Module, when: When, *names: str) -> None:
    """Declares parameters of a module whose gradient is zero by construction.

    Args:
        module: holds them.
        when: `at first`, as of factors that a zero multiplies until the first update; or `always`, as of the biases
            of attention keys, which softmax ignores.
        names: of the parameters, in the module.
    """
    declared = dict(getattr(module, "zero_gradients", {}))
    module.zero_gradients = declared | dict.fromkeys(names, when)  # type: ignore[assignment]


def check_gradients(model: nn.Module, *, first: bool = True) -> None:
    """Checks the gradients of a step, after the backward pass and before they are cleared.

    Activation checkpointing over frozen embeddings, a detached state or a wrong mask lose gradients silently: the run
    goes on and trains nothing.

    Args:
        model: whole, or a part of it.
        first: whether no update came before: factors behind a zero (`expect_zero`) have no gradient yet.

    Raises:
        UserError: if a trainable parameter has no gradient or a zero one, or a frozen parameter has one.
    """
    missing, unexpected = [], []
    for name, parameter, zero in _declared(model):
        if not parameter.requires_grad:
            if parameter.grad is not None:
                unexpected.append(name)
        elif parameter.grad is None or (
            not (zero == "always" or (zero == "at first" and first))
            and not torch.any(parameter.grad)
        ):
            missing.append(name)
    if missing:
        raise UserError(
            f"{_listed(missing)} should train and got no gradient; the loss does not depend on them, so the run would "
            "leave them as they are: check activation checkpointing, adapt and the layers that the encoder keeps"
        )
    if unexpected:
        raise UserError(
            f"{_listed(unexpected)} are frozen and got a gradient; something set them to train after adapt was applied"
        )


def _declared(model: nn.Module) -> Iterator[tuple[str, nn.Parameter, When | None]]:
    """Every parameter with its name, and when its gradient is declared to be zero."""
    for prefix, module in model.named_modules():
        zero = getattr(module, "zero_gradients", {})
        for name, parameter in module.named_parameters(recurse=False):
            yield f"{prefix}.{name}".lstrip("."), parameter, zero.get(name)


def _listed(names: list[str]) -> str:
    more = len(names) - _NAMED
    return ", ".join(names[:_NAMED]) + (f" and {more} more" if more > 0 else "")
