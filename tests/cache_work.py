"""What each of two processes does in the test of the gradient cache under DDP."""

from pathlib import Path

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from models.machine.recompute import Chunks, encode_in_chunks


class Model(nn.Module):
    """An item encoder with dropout, and a user encoder over its vectors."""

    def __init__(self) -> None:
        super().__init__()
        self.items = nn.Sequential(nn.Linear(6, 8), nn.Dropout(0.4), nn.GELU(), nn.Linear(8, 4))
        self.users = nn.Linear(4, 4)

    def forward(self, chunks: Chunks, cached: bool) -> Tensor:
        if cached:
            vectors = encode_in_chunks(self.items, chunks)
        else:
            vectors = torch.cat([self.items(part) for part in chunks.parts])
        return (self.users(vectors) @ vectors.T).logsumexp(1).mean()


def gradients(rank: int, meeting: str, out: str) -> None:
    """Gradients of a plain and a cached step with each process's own items and dropout, written by the first."""
    dist.init_process_group("gloo", init_method=f"file://{meeting}", rank=rank, world_size=2)
    torch.manual_seed(0)
    wrapped = DistributedDataParallel(Model())
    generator = torch.Generator().manual_seed(rank)
    parts = torch.randn(10 + rank, 6, generator=generator).split(3)
    found = []
    for cached in (False, True, True):
        for step in (False, True):  # two accumulated batches, and one reduction
            torch.manual_seed(10 * rank + step)
            if step:
                wrapped(Chunks(parts), cached).backward()
            else:
                with wrapped.no_sync():
                    wrapped(Chunks(parts[:2]), cached).backward()
        grads = {name: p.grad.clone() for name, p in wrapped.module.named_parameters()}
        found.append(grads)
        wrapped.zero_grad()
    if rank == 0:
        torch.save(found, Path(out))
    dist.destroy_process_group()
