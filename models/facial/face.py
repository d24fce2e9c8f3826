"""A detected face, and what a detector is."""

from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray


class Face(NamedTuple):
    """A box in pixels of the picture, within the picture.

    Args:
        x: left side; pixel column c spans [c, c + 1).
        y: upper side.
        width: width.
        height: height.
        confidence: in [0, 1].
    """

    x: float
    y: float
    width: float
    height: float
    confidence: float


class Detector(Protocol):
    """Finds the faces of pictures."""

    @property
    def finds_crops(self) -> bool:
        """Whether pictures are already crops of faces, so that a crop recipe adds no margin."""
        ...

    def faces(self, pixels: NDArray[np.uint8]) -> list[Face]:
        """The faces of a picture, the most confident first.

        Args:
            pixels: (H, W, 3) RGB.
        """
        ...


class WholePicture:
    """No detector: the picture itself is the crop of a face."""

    finds_crops = True

    def faces(self, pixels: NDArray[np.uint8]) -> list[Face]:
        """The box of the whole picture."""
        height, width = pixels.shape[:2]
        return [Face(0.0, 0.0, float(width), float(height), 1.0)]
