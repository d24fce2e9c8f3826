"""The little of torch.distributed that evaluation needs; one process is the ordinary case."""

import torch
import torch.distributed as dist
from torch import Tensor


def rank_and_world() -> tuple[int, int]:
    """This process's number and how many there are."""
    if dist.is_available() and dist.is_initialized():
        return dist.get_rank(), dist.get_world_size()
    return 0, 1


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
