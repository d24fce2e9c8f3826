"""The norm after the last layer of an encoder, where its last hidden state comes before it.

B items, S tokens, D width.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from toolkit.backbones.network import Hidden
from toolkit.backbones.pretrained import probing


class FinalNorm(NamedTuple):
    """A norm that reads the last hidden state.

    Args:
        path: of the module, in the model.
        pooled: whether the network normalises one vector per item (CLIP), and not every token (ViT).
    """

    path: str
    pooled: bool


def find_final_norm(model: nn.Module, compute: Callable[[], Hidden]) -> FinalNorm | None:
    """Finds the norm that reads the last hidden state, by the values that reach each norm.

    Args:
        model: of an encoder.
        compute: runs it on one item, all frames of which are the same where it reads frames.

    Returns:
        None if there is no such norm: the last hidden state comes after it (decoders, T5), or each layer ends in a norm
        of its own (BERT).
    """
    norms = {name: module for name, module in model.named_modules() if is_layer_norm(module)}
    read: dict[str, Tensor] = {}
    handles = [
        module.register_forward_pre_hook(
            lambda _, args, name=name: read.update({name: args[0].detach()})
        )
        for name, module in norms.items()
    ]
    try:
        with probing(model):
            last = compute().states[-1]
    finally:
        for handle in handles:
            handle.remove()
    for name, state in read.items():
        if state.numel() == last.numel() and _same(state.reshape(last.shape), last):
            return FinalNorm(name, pooled=False)
        if state.dim() == 2 and any(_same(state, vector) for vector in _pooled(last)):
            return FinalNorm(name, pooled=True)
    return None


def is_layer_norm(module: nn.Module) -> bool:
    """Whether a module is a LayerNorm or an RMSNorm, whatever library it is of."""
    name = type(module).__name__
    return isinstance(module, nn.LayerNorm) or name.endswith(("RMSNorm", "LayerNorm"))


def _pooled(last: Tensor) -> list[Tensor]:
    """What networks make of the last state (1, S, D) before they normalise it, each (1, D)."""
    return [last[:, 0], last.mean(dim=1), last[:, 1:].mean(dim=1)]


def _same(one: Any, other: Tensor) -> bool:
    if one.shape[-1] != other.shape[-1]:
        return False
    return torch.allclose(one, other.to(one), rtol=1e-4, atol=1e-5)
