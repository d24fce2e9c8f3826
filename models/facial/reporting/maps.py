"""Pictures of faces with the spatial attention of action units (AUs) over them.

N faces, A AUs, C pixels of the network's input, h × w cells.
"""

from collections.abc import Sequence
from typing import NamedTuple, cast

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from models.facial.frames import Pixels
from models.facial.pictures import Pictures
from models.facial.recognise import as_input
from models.facial.trained import TrainedFaces
from toolkit.images import encode_jpeg

SIDE_PX = 160  # of the pictures in the page
OPACITY = 0.5  # of the highest attention
_FACES_AT_ONCE = 32


class Attended(NamedTuple):
    """Faces with attention.

    Args:
        pictures: (N, C, C, 3) RGB, the inputs of the network.
        attention: (N, A, h, w) in [0, 1]; None without refinement.
    """

    pictures: NDArray[np.uint8]
    attention: NDArray[np.float32] | None


def attend(trained: TrainedFaces, pictures: Pictures, rows: Sequence[int]) -> Attended:
    """The inputs of the network and its attention for some rows of the table of faces.

    Args:
        trained: the network.
        pictures: of the dataset, with the view of the network.
        rows: (N,).
    """
    device = next(trained.network.parameters()).device
    images, maps = [], []
    with torch.no_grad():
        for start in range(0, len(rows), _FACES_AT_ONCE):
            some = pictures.plain(rows[start : start + _FACES_AT_ONCE])
            images.append(some.permute(0, 2, 3, 1).numpy())
            attention = trained.network(as_input(some, device)).attention
            if attention is not None:
                maps.append(attention.float().cpu().numpy())
    return Attended(np.concatenate(images), np.concatenate(maps) if maps else None)


def with_attention(pixels: Pixels, attention: NDArray[np.float32]) -> Pixels:
    """A picture under a heat map, whose colours span the range of this map; a constant map leaves the picture as it is.

    Args:
        pixels: (C, C, 3) RGB.
        attention: (h, w).
    """
    height, width = pixels.shape[:2]
    lowest, highest = float(attention.min()), float(attention.max())
    if highest - lowest < 1e-6:
        return pixels
    share = (attention - lowest) / (highest - lowest)
    share = cv2.resize(share, (width, height), interpolation=cv2.INTER_CUBIC).clip(0, 1)
    colours = cv2.applyColorMap((255 * share).astype(np.uint8), cv2.COLORMAP_INFERNO)[..., ::-1]
    weight = (OPACITY * share)[..., None]
    return cast(Pixels, np.rint(pixels * (1 - weight) + colours * weight).astype(np.uint8))


def jpeg(pixels: Pixels) -> bytes:
    """A JPEG of `SIDE_PX` pixels on each side."""
    larger = max(pixels.shape[:2]) < SIDE_PX
    method = cv2.INTER_CUBIC if larger else cv2.INTER_AREA
    return encode_jpeg(cv2.resize(pixels, (SIDE_PX, SIDE_PX), interpolation=method))
