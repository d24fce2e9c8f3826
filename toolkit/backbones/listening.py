"""Hidden states of networks that do not return them: hooks at their blocks record them."""

from collections.abc import Callable, Sequence
from typing import Any

from torch import Tensor, nn

from toolkit.backbones.network import Hidden


def listen(
    blocks: Sequence[nn.Module],
    compute: Callable[[], Any],
    *,
    first: nn.Module | None = None,
    read: Callable[[Any], Tensor] = lambda state: state,
) -> list[Tensor]:
    """The input of the first block and the output of every block, recorded while `compute` runs.

    Args:
        blocks: in the order in which they run.
        compute: runs them.
        first: the module whose input is recorded, if it is not the first block.
        read: a state from what a block reads or returns, at the moment when it does.
    """
    states: list[Tensor] = []
    handles = [  # a copy, because the first block may work in place
        (first or blocks[0]).register_forward_pre_hook(
            lambda _, args: states.append(read(args[0]).clone())
        )
    ]
    handles += [
        block.register_forward_hook(lambda _, __, out: states.append(read(out))) for block in blocks
    ]
    try:
        compute()
    finally:
        for handle in handles:
            handle.remove()
    return states


def run_timm(trunk: Any, inputs: dict[str, Tensor]) -> Hidden:
    """Hidden states of a network of timm, which declares its stages itself."""
    blocks = [trunk.get_submodule(stage["module"]) for stage in trunk.feature_info]
    channels_last = getattr(trunk, "output_fmt", "NCHW") == "NHWC"
    states = listen(blocks, lambda: trunk(inputs["pixel_values"]))
    return Hidden([as_tokens(state, channels_last=channels_last) for state in states], None)


def as_tokens(state: Tensor, *, channels_last: bool = False) -> Tensor:
    """A layer's output as (B, S, D): maps (B, D, ..., H, W), or (B, ..., H, W, D), are laid out row by row."""
    if state.dim() == 3:
        return state
    return state.flatten(1, -2) if channels_last else state.flatten(2).transpose(1, 2)
