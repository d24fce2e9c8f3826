"""Objects before a face: a part of it cannot be seen, while its labels stay those of the whole face."""

from collections.abc import Callable
from types import MappingProxyType

import cv2
import numpy as np
from numpy.random import Generator

from prep.synth.faces.canvas import Image

# Regions of a picture (left, top, right, bottom, of its sides) that hide a part of the face.
REGIONS = MappingProxyType(
    {
        "eyes": (0.14, 0.26, 0.86, 0.46),
        "mouth": (0.26, 0.60, 0.74, 0.88),
        "left half": (0.08, 0.05, 0.50, 0.92),
    }
)


def occlude(picture: Image, rng: Generator) -> str:
    """Draws an object of one colour over a region of a face's picture.

    Args:
        picture: (H, W, 3) RGB of `render`, changed in place.
        rng: of region, shape and colour.

    Returns:
        The name of the region.
    """
    name = list(REGIONS)[int(rng.integers(len(REGIONS)))]
    draw = _OBJECTS[int(rng.integers(len(_OBJECTS)))]
    height, width = picture.shape[:2]
    corners = np.array(REGIONS[name]) + rng.normal(0, 0.02, 4)
    left, top, right, bottom = (
        np.rint(corners * (width, height, width, height)).astype(int).tolist()
    )
    draw(picture, (left, top), (right, bottom), rng.uniform(20, 220, 3).tolist())
    return name


def _box(picture: Image, start: tuple[int, int], end: tuple[int, int], colour: list[float]) -> None:
    cv2.rectangle(picture, start, end, colour, cv2.FILLED)


def _disc(
    picture: Image, start: tuple[int, int], end: tuple[int, int], colour: list[float]
) -> None:
    centre = ((start[0] + end[0]) // 2, (start[1] + end[1]) // 2)
    radii = (int(0.6 * (end[0] - start[0])), int(0.6 * (end[1] - start[1])))
    cv2.ellipse(picture, centre, radii, 0, 0, 360, colour, cv2.FILLED, cv2.LINE_AA)


_OBJECTS: tuple[Callable[[Image, tuple[int, int], tuple[int, int], list[float]], None], ...] = (
    _box,
    _disc,
)
