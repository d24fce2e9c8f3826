"""From a picture as it is stored to one as it is shown: its size, the shape of its pixels, the way it is turned."""

import cv2
import numpy as np

from prep.pictures.pixels import Pixels, fitted
from prep.pictures.video.info import VideoInfo


def stored_size(info: VideoInfo, shorter_px: int | None) -> tuple[int, int]:
    """Width and height to which a stored picture is resized, so that the turn gives what is shown."""
    width, height = fitted(info.width_px, info.height_px, shorter_px)
    return (height, width) if info.turn.transposes else (width, height)


def upright(pixels: Pixels, info: VideoInfo, shorter_px: int | None) -> Pixels:
    """A stored picture as it is shown, its shorter side at most `shorter_px`.

    Args:
        pixels: (H, W, 3), as stored.
        info: of its clip.
        shorter_px: None keeps the size.
    """
    turn = info.turn
    if turn.tilt_degrees:  # which is not that of a picture with another shape
        return _resized(turn.applied(pixels), stored_size(info, shorter_px))
    return np.ascontiguousarray(turn.applied(_resized(pixels, stored_size(info, shorter_px))))


def _resized(pixels: Pixels, size: tuple[int, int]) -> Pixels:
    """A picture of another size: the mean where it shrinks, in between where it grows."""
    height, width = pixels.shape[:2]
    smaller = (min(width, size[0]), min(height, size[1]))
    if smaller != (width, height):
        pixels = cv2.resize(pixels, smaller, interpolation=cv2.INTER_AREA).astype(
            np.uint8, copy=False
        )
    if smaller != size:
        pixels = cv2.resize(pixels, size, interpolation=cv2.INTER_LINEAR).astype(
            np.uint8, copy=False
        )
    return pixels
