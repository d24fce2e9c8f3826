"""The collectives of torch.distributed that Versa needs; one process is the usual case."""

import os
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from toolkit.errors import UserError

T = TypeVar("T")
# How long a process waits for another in a collective. Accelerate's 10 minutes on GPUs are shorter than the tail of a slow
# evaluation or checkpoint. A process that ends stops the others at once, whatever this limit.
TIMEOUT = timedelta(hours=2)


def is_launched() -> bool:
    """Whether a launcher started several processes that compute together, connected or not."""
    return int(os.environ.get("WORLD_SIZE", "1")) > 1


def rank_and_world() -> tuple[int, int]:
    """The rank of this process, and the number of processes."""
    if dist.is_available() and dist.is_initialized():
        return dist.get_rank(), dist.get_world_size()
    return 0, 1


def decided_by_first(decide: Callable[[], T]) -> T:
    """Calls `decide` in the first process, and returns its result in all; all processes call this.

    Raises:
        UserError: in all processes, where `decide` raises it.
    """
    rank, world = rank_and_world()
    if world == 1:
        return decide()
    shared: list[Any] = [None, None]  # result, error
    if rank == 0:
        try:
            shared[0] = decide()
        except UserError as error:
            shared[1] = str(error)
    dist.broadcast_object_list(shared, src=0)
    if shared[1] is not None:
        raise UserError(shared[1])
    decided: T = shared[0]
    return decided


def share(count: int) -> Tensor:
    """The indices, out of `count`, that this process works on: every world-th, equally many in each process.

    Indices are repeated from the start where the number of processes does not divide `count`; `gather_shares` drops
    the repeated rows.
    """
    rank, world = rank_and_world()
    size = -(-count // world) if count else 0
    return (torch.arange(size) * world + rank) % max(count, 1)


def gather_shares(local: Tensor, count: int) -> Tensor:
    """The rows of all processes in the order of indices, (count, …), from the rows that each computed for its `share`.

    A process may leave out the row of a repeated index.
    """
    _, world = rank_and_world()
    if world == 1:
        return local
    absent = -(-count // world) - len(local)
    if absent:
        local = torch.cat([local, local.new_zeros(absent, *local.shape[1:])])
    parts = [torch.empty_like(local) for _ in range(world)]
    dist.all_gather(parts, local.contiguous())
    return torch.stack(parts, dim=1).flatten(0, 1)[:count]


def gather_objects(local: Sequence[T], count: int) -> list[T]:
    """Like `gather_shares`, of Python objects such as texts, from those that each process computed for its `share`."""
    _, world = rank_and_world()
    if world == 1:
        return list(local)
    everyone: list[Any] = [None] * world
    dist.all_gather_object(everyone, list(local))
    return [value for values in zip(*everyone, strict=True) for value in values][:count]


def most(count: int, *, device: torch.device | str = "cpu") -> int:
    """The largest of the counts of all processes; all processes call it.

    Args:
        count: of this process.
        device: of the collective: that of the model.
    """
    _, world = rank_and_world()
    if world == 1:
        return count
    largest = torch.tensor([count], device=device)
    dist.all_reduce(largest, dist.ReduceOp.MAX)
    return int(largest)


def united(sets: dict[str, set[int]]) -> dict[str, set[int]]:
    """The union over processes of each named set; all processes call it, with the same names."""
    _, world = rank_and_world()
    if world == 1:
        return sets
    everyone: list[Any] = [None] * world
    dist.all_gather_object(everyone, sets)
    return {name: set().union(*(one[name] for one in everyone)) for name in sets}


def gather(local: Tensor) -> Tensor:
    """The rows of all processes in order of rank, (W·S, …), from S rows of each; all processes call it."""
    _, world = rank_and_world()
    if world == 1:
        return local
    parts = [torch.empty_like(local) for _ in range(world)]
    dist.all_gather(parts, local.contiguous())
    return torch.cat(parts)


def adopt_buffers(module: nn.Module) -> None:
    """Gives all processes the buffers of the first, such as the statistics of BatchNorm; all processes call it.

    Each process updates its own from its part of a batch. DDP makes them equal before a step, but not after the last one.

    Args:
        module: the unwrapped model.
    """
    if rank_and_world()[1] == 1:
        return
    for buffer in module.buffers():
        values = buffer.contiguous()  # itself, unless it is a view such as a transposed one
        dist.broadcast(values, src=0)
        buffer.copy_(values)


def gather_with_gradient(local: Tensor) -> Tensor:
    """The rows of all processes in order of rank, (W·S, E), from S rows of each; all processes call it.

    The gradient of a process's rows is the sum of their gradients from the losses of all processes.

    Args:
        local: (S, E); gathered in float32, so that the sum of gradients is exact.
    """
    gathered: Tensor = _Gather.apply(local.float())
    return gathered


class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, local: Tensor) -> Tensor:
        rank, world = rank_and_world()
        ctx.own = slice(rank * len(local), (rank + 1) * len(local))
        parts = [torch.empty_like(local) for _ in range(world)]
        dist.all_gather(parts, local.contiguous())
        return torch.cat(parts)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        total = gradient.clone(memory_format=torch.contiguous_format)  # autograd keeps its own
        dist.all_reduce(total)
        return total[ctx.own]
