"""Which parameters the outputs of a module depend on, read off autograd's graph without a backward pass."""

from typing import Any

import torch
from torch import Tensor, nn

from models.adaptation.samples import sample_outputs


def reached_parameters(encoder: nn.Module) -> set[nn.Parameter]:
    """The parameters that an encoder's states depend on.

    Poolers, final norms and layers above the highest kept state are not among them: no loss can train these.
    `requires_grad` is as before afterwards.

    Args:
        encoder: an `Encoder` of `toolkit.backbones`, or a sequence encoder.
    """
    flags = [(parameter, parameter.requires_grad) for parameter in encoder.parameters()]
    modes = [(module, module.training) for module in encoder.modules()]
    encoder.eval()
    try:
        for parameter, _ in flags:
            if parameter.is_floating_point():
                parameter.requires_grad_(True)
        with torch.enable_grad():
            return _leaves(sample_outputs(encoder))
    finally:
        for parameter, flag in flags:
            parameter.requires_grad_(flag)
        for module, mode in modes:
            module.training = mode


def _leaves(output: Tensor) -> set[nn.Parameter]:
    """The leaves of the graph that ends in a tensor."""
    leaves: set[nn.Parameter] = set()
    seen: set[Any] = set()
    waiting = [output.grad_fn]
    while waiting:
        node = waiting.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        if hasattr(node, "variable"):
            leaves.add(node.variable)
        waiting.extend(following for following, _ in node.next_functions)
    return leaves
