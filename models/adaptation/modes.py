"""Parts of an encoder without trainable parameters stay in evaluation mode while the model trains."""

from typing import Any

from torch import nn


class EvaluationMode:
    """A forward pre-hook that puts the frozen parts of an encoder back into evaluation mode.

    Dropout in a frozen part would blur states that nothing can learn to keep. A module without parameters of its own,
    such as dropout, follows the module that holds it. BatchNorm keeps its statistics: they would depend on how a batch
    is cut into chunks and spread over processes.

    Args:
        encoder: whose trainable parameters are decided.
    """

    def __init__(self, encoder: nn.Module) -> None:
        self.frozen = list(_frozen_parts(encoder, frozen=False))

    def __call__(self, encoder: nn.Module, args: Any) -> None:
        """Called before `encoder.forward`."""
        if encoder.training:
            for module in self.frozen:
                module.training = False


def _frozen_parts(module: nn.Module, *, frozen: bool) -> Any:
    parameters = list(module.parameters())
    if parameters:
        frozen = not any(parameter.requires_grad for parameter in parameters)
    if frozen or isinstance(module, nn.modules.batchnorm._BatchNorm):
        yield module
    for child in module.children():
        yield from _frozen_parts(child, frozen=frozen)
