"""Hidden states of networks that do not give them: heard at their blocks while they compute."""

from collections.abc import Callable, Sequence
from typing import Any

from torch import Tensor, nn

from toolkit.backbones.backbone import Hidden


def listen(blocks: Sequence[nn.Module], compute: Callable[[], Any]) -> list[Tensor]:
    """What goes into the first block, and what comes out of every one, while `compute` runs."""
    states: list[Tensor] = []
    handles = [  # a copy, because the first block may work in place
        blocks[0].register_forward_pre_hook(lambda _, args: states.append(args[0].clone()))
    ]
    handles += [one.register_forward_hook(lambda _, __, out: states.append(out)) for one in blocks]
    try:
        compute()
    finally:
        for handle in handles:
            handle.remove()
    return states


def run_timm(trunk: Any) -> Callable[[dict[str, Tensor]], Hidden]:
    """What gives the hidden states of a network of timm, which says itself what its stages are."""
    blocks = [trunk.get_submodule(one["module"]) for one in trunk.feature_info]
    channels_last = getattr(trunk, "output_fmt", "NCHW") == "NHWC"

    def run(inputs: dict[str, Tensor]) -> Hidden:
        states = listen(blocks, lambda: trunk(inputs["pixel_values"]))
        return Hidden([as_tokens(state, channels_last=channels_last) for state in states], None)

    return run


def as_tokens(state: Tensor, *, channels_last: bool = False) -> Tensor:
    """A layer's output as (B, S, D): maps (B, D, H, W), or (B, H, W, D), are laid out row by row."""
    if state.dim() == 3:
        return state
    return state.flatten(1, 2) if channels_last else state.flatten(2).transpose(1, 2)
