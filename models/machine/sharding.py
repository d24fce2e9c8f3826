"""Encoders whose weights are sharded over processes, for towers that do not fit one GPU: FSDP2 (torch's `fully_shard`).

Accelerate's launcher asks for it; Accelerate itself would wrap the whole model as one unit, and nothing on a CPU. Here each
encoder is a unit of its own, with its layers as parts: the gradient cache encodes chunks within a backward pass, and an
evaluation calls the item encoder alone. All that is not an encoder is small, and whole in every process.

Each call of a sharded encoder gathers its weights from all processes, so that all must call it equally often
(`models.machine.parallel.most`).
"""

import os
from collections.abc import Iterable
from typing import Any, Protocol

import torch
import torch.distributed as dist
from torch import Tensor, nn

from models.machine.autocast import DTYPES
from models.machine.parallel import most, rank_and_world
from models.machine.precision import Precision
from models.parameters import is_sharded
from toolkit.errors import UserError

ASKED = "ACCELERATE_USE_FSDP"
_VERSION = "FSDP_VERSION"
_CALLED = ("token_states",)  # methods of an encoder that, beside `forward`, run it
# What the launcher may ask for, and what to take instead.
_REFUSED = {
    "FSDP_OFFLOAD_PARAMS": "leave out --fsdp_offload_params: weights stay on the GPUs",
    "FSDP_ACTIVATION_CHECKPOINTING": "use --train.activation_checkpointing true instead",
}


class Shardable(Protocol):
    """An item encoder whose encoders can be sharded (`models.items.encoders.TrainedEncoders`)."""

    calls: Any  # how often all processes call an encoder, from how often this one does

    def units(self) -> Iterable[tuple[nn.Module, list[nn.Module]]]:
        """Each encoder, with its layers in the order of their calls."""
        ...


def launcher_shards() -> bool:
    """Whether the launcher asks for FSDP2, and several processes train.

    Raises:
        UserError: if it asks for FSDP in a way that training does not support.
    """
    if os.environ.get(ASKED, "false").lower() != "true":
        return False
    version = os.environ.get(_VERSION, "1")
    if version != "2":
        raise UserError(
            f"{_VERSION} is {version}, set by the launcher; training supports version 2: add --fsdp_version 2"
        )
    for name, advice in _REFUSED.items():
        if os.environ.get(name, "false").lower() == "true":
            raise UserError(f"{name} is true, set by the launcher, and is not supported; {advice}")
    return int(os.environ.get("WORLD_SIZE", "1")) > 1


def shard_encoders(encoder: Shardable, *, device: torch.device, precision: Precision) -> None:
    """Shards the weights of all encoders over all processes, in place; all processes call it.

    Their parameters are other objects afterwards, so an optimizer must be built later.

    Args:
        encoder: the item encoder, on the CPU; one layer at a time is moved.
        device: where this process computes.
        precision: mixed precision of the run: weights are gathered in it, so that no whole copy in it is kept for the
            backward pass; gradients are reduced in float32.
    """
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import (
        MixedPrecisionPolicy,
        fully_shard,
        register_fsdp_forward_method,
    )

    mixed = precision != "no"
    options: dict[str, Any] = {
        "mesh": init_device_mesh(device.type, (rank_and_world()[1],)),
        "mp_policy": MixedPrecisionPolicy(
            param_dtype=DTYPES[precision] if mixed else None,
            reduce_dtype=torch.float32 if mixed else None,
            cast_forward_inputs=False,
        ),
        "reshard_after_forward": True,
    }
    for root, layers in encoder.units():
        for layer in layers:
            fully_shard(layer, **options)
        fully_shard(root, **options)
        for method in _CALLED:
            register_fsdp_forward_method(root, method)
    encoder.calls = lambda count: most(count, device=device)


def has_shards(module: nn.Module) -> bool:
    """Whether a part of the module is sharded."""
    return any(map(is_sharded, module.parameters()))


def describe_shards(module: nn.Module) -> list[str]:
    """A line about the sharded weights of a module; none if nothing is sharded."""
    if not has_shards(module):
        return []
    count = sum(parameter.numel() for parameter in module.parameters() if is_sharded(parameter))
    return [
        f"FSDP2: {count:,} weights of encoders are sharded over {rank_and_world()[1]} processes"
    ]


def move_whole(module: nn.Module, device: torch.device) -> None:
    """Moves the parameters and buffers that are not sharded to a device, in place."""
    for parameter in module.parameters():
        if not is_sharded(parameter):
            parameter.data = parameter.data.to(device)
    for buffer in module.buffers():
        buffer.data = buffer.data.to(device)


def average_whole(module: nn.Module) -> None:
    """Makes the gradients of the parameters that are not sharded their mean over processes; all processes call it.

    Sharded ones are reduced in the backward pass.
    """
    own = [p for p in module.parameters() if p.requires_grad and not is_sharded(p)]
    for parameter in own:
        if parameter.grad is None:
            parameter.grad = torch.zeros_like(parameter)
    gradients: list[Tensor] = [p.grad for p in own if p.grad is not None]
    if not gradients:
        return
    flat = torch.cat([gradient.flatten() for gradient in gradients])
    dist.all_reduce(flat)
    flat /= rank_and_world()[1]
    for gradient, mean in zip(gradients, flat.split([g.numel() for g in gradients]), strict=True):
        gradient.copy_(mean.view_as(gradient))
