"""The forms in which a small module joins a part of a layer: hooks, so that the encoder's own weights keep their names.

h is the output of the part's last dense layer and x the residual stream that it is added to, both (B, S, D); A is the
small module, s its scale. In brackets, the form in a pre-norm layer. Every form is the identity where A is zero.
"""

from copy import deepcopy
from typing import Any

import torch
from torch import Tensor, nn

from models.adaptation.anatomy import Sublayer


class Attached(nn.Module):
    """What all forms have in common: the small module, and how it is called.

    Args:
        core: A, (B, S, D) -> (B, S, D).
        scale: s.
    """

    def __init__(self, core: nn.Module, scale: float = 1.0) -> None:
        super().__init__()
        self.core = core
        self.scale = scale
        self.entered: list[Tensor] = []  # x of the running forward pass

    def attach(self, sublayer: Sublayer) -> None:
        """Registers the hooks of the form."""
        raise NotImplementedError

    def added(self, state: Tensor) -> Tensor:
        """S · A(state), computed in the precision of A's weights and returned in that of the state."""
        weight = next(self.core.parameters())
        change: Tensor = self.core(state.to(weight.dtype))
        return (self.scale * change).to(state.dtype)

    def _remember(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        self.entered = [args[0] if args else kwargs["hidden_states"]]

    def _recall(self) -> Tensor:
        return self.entered.pop()


class Serial(Attached):
    """LN(h + s·A(h) + x)  [h + s·A(h) + x]: Houlsby et al., arXiv 1902.00751."""

    def attach(self, sublayer: Sublayer) -> None:
        """Acts on h."""
        sublayer.dense.register_forward_hook(self._after)

    def _after(self, module: nn.Module, args: Any, output: Any) -> Any:
        state = _first(output)
        return _replace(output, state + self.added(state))


class Parallel(Attached):
    """LN(h + s·A(x) + x)  [the same without LN, x before the norm]: He et al., arXiv 2110.04366."""

    def attach(self, sublayer: Sublayer) -> None:
        """Reads x and adds to h."""
        sublayer.reads.register_forward_pre_hook(self._remember, with_kwargs=True)
        sublayer.dense.register_forward_hook(self._after)

    def _after(self, module: nn.Module, args: Any, output: Any) -> Any:
        return _replace(output, _first(output) + self.added(self._recall()))


class Normed(Attached):
    """LN'(s·A(LN(h + x)) + h + x)  [h + s·A(h + x) + x]: Pfeiffer et al., arXiv 2005.00247.

    Args:
        core: A.
        scale: s.
        second_norm: whether LN' is a norm of its own, which begins as a copy of LN; otherwise LN' is LN.
    """

    def __init__(self, core: nn.Module, scale: float = 1.0, *, second_norm: bool = False) -> None:
        super().__init__(core, scale)
        self.wants_norm = second_norm
        self.norm: nn.Module | None = None

    def attach(self, sublayer: Sublayer) -> None:
        """Acts on LN(h + x) in a post-norm layer, on h + x otherwise."""
        if sublayer.norm is None:
            sublayer.reads.register_forward_pre_hook(self._remember, with_kwargs=True)
            sublayer.dense.register_forward_hook(self._after_dense)
            return
        if self.wants_norm:
            self.norm = deepcopy(sublayer.norm).requires_grad_(True)
        sublayer.norm.register_forward_hook(self._after_norm)

    def _after_dense(self, module: nn.Module, args: Any, output: Any) -> Any:
        state = _first(output)
        return _replace(output, state + self.added(state + self._recall()))

    def _after_norm(self, module: nn.Module, args: tuple[Tensor, ...], output: Tensor) -> Tensor:
        norm = module if self.norm is None else self.norm
        normed: Tensor = norm.forward(self.added(output) + args[0])  # a call would come here again
        return normed


def place_like(module: nn.Module, like: nn.Module) -> nn.Module:
    """Moves a new module to the device of another; its weights stay float32."""
    parameter = next(like.parameters(), None)
    return module if parameter is None else module.to(parameter.device, torch.float32)


def _first(output: Any) -> Tensor:
    """The states of an output that may hold attention weights besides."""
    state: Tensor = output[0] if isinstance(output, tuple) else output
    return state


def _replace(output: Any, state: Tensor) -> Any:
    return (state, *output[1:]) if isinstance(output, tuple) else state
