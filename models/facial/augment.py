"""From a stored picture to the input of the network; random changes depend on (seed, epoch, row) alone.

S pixels of a picture's side, C pixels of the crop's side.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from models.facial.crop import CropRecipe
from models.facial.face import WholePicture
from models.facial.frames import Pixels

_LUMA = np.array([0.299, 0.587, 0.114], np.float32)  # ITU-R BT.601


@dataclass(frozen=True)
class View:
    """How pictures are resized, cropped and changed.

    Args:
        resize_px: S.
        crop_px: C.
        flip: whether half of the pictures are mirrored in training.
        jitter: half the range of the factors of brightness, contrast and saturation in training.
        square: whether the shorter side of a picture grows to the longer one, in black, as that of a detected face does
            (`models.facial.crop.CropRecipe`); otherwise the picture is stretched.
    """

    resize_px: int
    crop_px: int
    flip: bool = True
    jitter: float = 0.4
    square: bool = True

    def plain(self, pixels: Pixels) -> Pixels:
        """(H, W, 3) -> (C, C, 3): the middle of the picture, unchanged."""
        start = (self.resize_px - self.crop_px) // 2
        return self._crop(self._resized(pixels), start, start)

    def changed(self, pixels: Pixels, seeds: Sequence[int]) -> Pixels:
        """(H, W, 3) -> (C, C, 3): a random crop, mirrored and with other colours.

        Colours: x' = x b, then x'' = m + c (x' - m) with the mean m of the luma, then y + s (x'' - y) with the luma y of
        each pixel; b, c and s are uniform in [1 - jitter, 1 + jitter].

        Args:
            pixels: RGB.
            seeds: of the random numbers; equal seeds have equal results.
        """
        generator = np.random.default_rng(seeds)
        top, left = generator.integers(0, self.resize_px - self.crop_px + 1, 2)
        mirrored = generator.random() < 0.5
        factors = 1 + self.jitter * generator.uniform(-1, 1, 3).astype(np.float32)
        crop = self._crop(self._resized(pixels), int(top), int(left))
        if self.flip and mirrored:
            crop = crop[:, ::-1]
        return _coloured(crop, *factors.tolist()) if self.jitter else np.ascontiguousarray(crop)

    def _resized(self, pixels: Pixels) -> Pixels:
        if pixels.shape[:2] == (self.resize_px, self.resize_px):
            return pixels
        (whole,) = WholePicture().faces(pixels)
        return CropRecipe(self.resize_px, margin=0, square=self.square).crop(pixels, whole)

    def _crop(self, pixels: Pixels, top: int, left: int) -> Pixels:
        return pixels[top : top + self.crop_px, left : left + self.crop_px]


def _coloured(pixels: Pixels, brightness: float, contrast: float, saturation: float) -> Pixels:
    values = pixels.astype(np.float32) * brightness
    mean = float((values @ _LUMA).mean())
    values = mean + contrast * (values - mean)
    luma = (values @ _LUMA)[..., None]
    values = luma + saturation * (values - luma)
    return np.rint(values).clip(0, 255).astype(np.uint8)
