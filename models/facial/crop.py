"""The crop of a face: a recipe that a checkpoint records, so that training and prediction see the same crops."""

from dataclasses import dataclass, replace

import cv2
import numpy as np

from models.facial.face import Face
from models.facial.frames import Pixels
from toolkit.errors import UserError


@dataclass(frozen=True)
class CropRecipe:
    """How to crop a face from a picture. `dataclasses.asdict` and `CropRecipe(**values)` convert it to and from JSON.

    The box grows on all sides, and parts outside the picture are black.

    Args:
        size_px: height and width of the crop in pixels.
        margin: growth on each side, as a fraction of the longer side of the box.
        square: whether the shorter side grows to the longer one; otherwise the crop is stretched to a square.

    Raises:
        UserError: if the size is below 1 or the margin below 0.
    """

    size_px: int = 224
    margin: float = 0.2
    square: bool = True

    def __post_init__(self) -> None:
        if self.size_px < 1 or not self.margin >= 0:
            raise UserError(
                f"the crop has size_px {self.size_px} and margin {self.margin}; expected size_px from 1 and margin from 0"
            )

    def without_margin(self) -> "CropRecipe":
        """The recipe for pictures that are already crops of faces."""
        return replace(self, margin=0.0)

    def crop(self, pixels: Pixels, face: Face) -> Pixels:
        """The crop of a face, (size_px, size_px, 3).

        Args:
            pixels: (H, W, 3) the picture.
            face: a box in this picture.
        """
        longer = max(face.width, face.height)
        width, height = (longer, longer) if self.square else (face.width, face.height)
        width, height = width + 2 * self.margin * longer, height + 2 * self.margin * longer
        left = round(face.x + face.width / 2 - width / 2)
        top = round(face.y + face.height / 2 - height / 2)
        region = _region(pixels, left, top, max(round(width), 1), max(round(height), 1))
        shrinks = max(region.shape[:2]) > self.size_px
        resized = cv2.resize(
            region,
            (self.size_px, self.size_px),
            interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR,
        )
        return resized.astype(np.uint8, copy=False)


def _region(pixels: Pixels, left: int, top: int, width: int, height: int) -> Pixels:
    """A rectangle of a picture, (height, width, 3), black outside the picture."""
    region = np.zeros((height, width, 3), np.uint8)
    rows = slice(max(top, 0), max(min(top + height, pixels.shape[0]), 0))
    columns = slice(max(left, 0), max(min(left + width, pixels.shape[1]), 0))
    part = pixels[rows, columns]
    region[rows.start - top :, columns.start - left :][: part.shape[0], : part.shape[1]] = part
    return region
