"""Converts a stored picture to its display form: size, pixel aspect ratio and rotation."""

import cv2
import numpy as np

from prep.pictures.pixels import Pixels, fitted
from prep.pictures.video.info import VideoInfo


def stored_size(info: VideoInfo, shorter_px: int | None) -> tuple[int, int]:
    """Width and height to which a stored picture is resized before it is rotated."""
    width, height = fitted(info.width_px, info.height_px, shorter_px)
    return (height, width) if info.turn.transposes else (width, height)


def upright(pixels: Pixels, info: VideoInfo, shorter_px: int | None) -> Pixels:
    """A stored picture in its display form, its shorter side at most `shorter_px`.

    Args:
        pixels: (H, W, 3), as stored.
        info: metadata of the clip.
        shorter_px: maximum length of the shorter side in pixels; None keeps the size.
    """
    turn = info.turn
    if turn.tilt_degrees:  # resizing first would change the angle
        return _resized(turn.applied(pixels), stored_size(info, shorter_px))
    return np.ascontiguousarray(turn.applied(_resized(pixels, stored_size(info, shorter_px))))


def _resized(pixels: Pixels, size: tuple[int, int]) -> Pixels:
    """Resizes a picture: area averaging to shrink, linear interpolation to enlarge."""
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
