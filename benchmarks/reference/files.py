"""One file of hidden states per item, opened at every occurrence of the item.

K kept states, D width.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor

TOWERS = 2


def write_files(folder: Path, states: Mapping[str, Tensor]) -> None:
    """Writes `ITEM.pt`, its states in each tower, for items 0 (padding, zeros) to N.

    Args:
        folder: output folder; existing files are kept.
        states: two towers, text then image, each (N + 1, K, D).

    Raises:
        ValueError: if there are not two towers.
    """
    if len(states) != TOWERS:
        raise ValueError(f"the reference has two towers, text and image; got {list(states)}")
    folder.mkdir(parents=True, exist_ok=True)
    for item, rows in enumerate(zip(*states.values(), strict=True)):
        path = folder / f"{item}.pt"
        if not path.exists():
            torch.save([row.clone() for row in rows], path)


def read_files(folder: Path, items: Sequence[int]) -> tuple[Tensor, Tensor]:
    """Text and image states of items, in order, each occurrence from its file: (M, K, D) twice."""
    opened = [torch.load(folder / f"{item}.pt", weights_only=True) for item in items]
    text, image = (torch.stack(tower).float() for tower in zip(*opened, strict=True))
    return text, image
