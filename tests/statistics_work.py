"""What each of two processes does in the test of the statistics of BatchNorm after an epoch."""

import os
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from models.machine.launcher import start_accelerator
from models.training.checkpoints import Place
from models.training.loop import Loop
from models.training.optimizer import make_optimizer
from models.training.step import Step


class Batches:
    """Three batches of four rows around a mean that each process has for itself."""

    accumulation = 1

    def __init__(self, rank: int) -> None:
        self.rank = rank

    def __len__(self) -> int:
        return 3

    def ends_update(self, number: int) -> bool:
        return True

    def epoch(self, epoch: int, *, first: int = 0) -> Iterator[Any]:
        for number in range(first, len(self)):
            rows = torch.arange(8.0).view(4, 2) + 10 * self.rank + number
            yield SimpleNamespace(rows=rows, share=1.0)


class Normed(nn.Module):
    """BatchNorm and a linear layer; `forward(batch)` is the loss."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.BatchNorm1d(2), nn.Linear(2, 1))

    def forward(self, batch: Any) -> Tensor:
        loss: Tensor = self.layers(batch.rows).square().mean()
        return loss


def train_an_epoch(rank: int, port: int, out: str) -> None:
    """Trains an epoch, and writes the buffers of this process."""
    launched = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": 2, "LOCAL_WORLD_SIZE": 2, "MASTER_PORT": port}  # fmt: skip
    os.environ.update({name: str(value) for name, value in launched.items()})
    os.environ.update(MASTER_ADDR="127.0.0.1", ACCELERATE_USE_CPU="1", OMP_NUM_THREADS="1")
    accelerator = start_accelerator()
    model = Normed()
    optimizer = make_optimizer(
        model, rates={"base": 0.1}, name="adamw", weight_decay=0.0, device=accelerator.device
    )
    wrapped, optimizer = accelerator.prepare(model, optimizer)
    place: Any = Place()
    loop = Loop(
        accelerator=accelerator,
        step=Step(accelerator, wrapped, optimizer),
        batches=Batches(rank),
        optimizer=optimizer,
        place=place,
        checkpoints=SimpleNamespace(model=model),  # type: ignore[arg-type]
        log=SimpleNamespace(write=lambda **_: None),  # type: ignore[arg-type]
        watch=SimpleNamespace(note=lambda _: None, check=lambda: None),  # type: ignore[arg-type]
        epochs=1,
        schedule="constant",
        warmup_updates=0,
        log_every_steps=100,
        checkpoint_every_steps=0,
    )
    loop.train_epoch(SimpleNamespace(signal=lambda: 0))  # type: ignore[arg-type]
    torch.save(dict(model.named_buffers()), Path(f"{out}-{rank}"))
    dist.destroy_process_group()
