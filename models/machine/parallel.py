"""The little of torch.distributed that Versa needs; one process is the ordinary case."""

from collections.abc import Callable
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor
from torch.autograd.function import once_differentiable

from toolkit.errors import UserError

T = TypeVar("T")


def rank_and_world() -> tuple[int, int]:
    """This process's number and how many there are."""
    if dist.is_available() and dist.is_initialized():
        return dist.get_rank(), dist.get_world_size()
    return 0, 1


def decided_by_first(decide: Callable[[], T]) -> T:
    """What the first process decides, in all of them; all call it.

    Raises:
        UserError: in all of them, where `decide` raises it.
    """
    rank, world = rank_and_world()
    if world == 1:
        return decide()
    found: list[Any] = [None, None]
    if rank == 0:
        try:
            found[0] = decide()
        except UserError as error:
            found[1] = str(error)
    dist.broadcast_object_list(found, src=0)
    if found[1] is not None:
        raise UserError(found[1])
    decided: T = found[0]
    return decided


def share(count: int) -> Tensor:
    """The rows, out of `count`, that this process works on: every world-th, equally many in each.

    Rows are repeated from the start where `count` does not divide; `gather_shares` drops them.
    """
    rank, world = rank_and_world()
    size = -(-count // world) if count else 0
    return (torch.arange(size) * world + rank) % max(count, 1)


def gather_shares(local: Tensor, count: int) -> Tensor:
    """All processes' rows in their own order, (count, …), from what each made of its `share`."""
    _, world = rank_and_world()
    if world == 1:
        return local
    parts = [torch.empty_like(local) for _ in range(world)]
    dist.all_gather(parts, local.contiguous())
    return torch.stack(parts, dim=1).flatten(0, 1)[:count]


def gather_with_gradient(local: Tensor) -> Tensor:
    """All processes' rows, (W·S, E), the first one's first, from S of each; all call it.

    The gradient of a process's rows is the sum of what all processes' losses ask of them.

    Args:
        local: (S, E); it is gathered in float32, so that their sum is exact.
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
