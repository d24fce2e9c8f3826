"""What each of two processes does in the test of an evaluation over several processes."""

import os
import time
from pathlib import Path

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor, nn

from models import Recommender
from models.inputs.features import ItemNumbers
from models.machine.launcher import start_accelerator
from models.ranking.catalogue import encode_catalogue

ITEMS = 61
TWIN = 7  # has the content of item 3


class Counting(nn.Module):
    """An item encoder that is slow in one process, and writes down what it encodes."""

    def __init__(self, slow: bool) -> None:
        super().__init__()
        self.slow = slow
        self.items: list[int] = []

    def forward(self, features: dict[str, Tensor]) -> Tensor:
        numbers = features["id"]
        self.items += numbers.tolist()
        if self.slow:
            time.sleep(1)
        return torch.stack([numbers, numbers.square()], dim=1).float()


class Twins(ItemNumbers):
    """Item numbers, two of which have equal content."""

    def same_as(self) -> Tensor:
        numbers = torch.arange(ITEMS + 1)
        numbers[TWIN] = 3
        return numbers


class LastItem(nn.Module):
    def forward(self, items: Tensor, real: Tensor) -> Tensor:
        return items


def encode(rank: int, port: int, out: str) -> None:
    """Encodes a catalogue, and writes what this process encoded, the result, and how long collectives wait."""
    launched = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": 2, "LOCAL_WORLD_SIZE": 2, "MASTER_PORT": port}  # fmt: skip
    os.environ.update({name: str(value) for name, value in launched.items()})
    os.environ.update(MASTER_ADDR="127.0.0.1", ACCELERATE_USE_CPU="1", OMP_NUM_THREADS="1")
    start_accelerator()
    encoder = Counting(slow=rank == 1)
    everything = np.arange(1, ITEMS + 1, dtype=np.int32)
    catalogue = encode_catalogue(
        Recommender(encoder, LastItem()), Twins(ITEMS), everything, device="cpu"
    )
    group = dist.group.WORLD
    assert group is not None
    waits = group._get_backend(torch.device("cpu")).options._timeout.total_seconds()
    torch.save((encoder.items, catalogue.embeddings, waits), Path(f"{out}-{rank}"))
    dist.destroy_process_group()
