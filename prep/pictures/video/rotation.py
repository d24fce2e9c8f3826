"""Rotation of stored pictures: converts a display matrix to turns and mirrors.

A phone held sideways stores its pictures sideways, and a front camera stores them mirrored. A 3 x 3 matrix in the
file tells players how to correct this (ISO 14496-12, 8.3.2; FFmpeg's AV_FRAME_DATA_DISPLAYMATRIX).
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np

from prep.pictures.pixels import Pixels

_TOLERANCE_DEGREES = 1.0  # as in FFmpeg: angles this near to a quarter turn count as one


class Turn(NamedTuple):
    """The operation that makes a stored picture upright: a transposition followed by mirrors, or a tilt.

    The eight combinations of the first three are the four quarter turns, each with and without a mirror.

    Args:
        transposes: whether rows become columns; applied first.
        flips_x: whether left and right are exchanged.
        flips_y: whether top and bottom are exchanged.
        tilt_degrees: clockwise angle around the centre, for matrices that are not a quarter turn. As in FFmpeg's
            command, the picture keeps its size, the overhang is cropped, the corners are black, and a mirror in
            such a matrix is ignored.
    """

    transposes: bool = False
    flips_x: bool = False
    flips_y: bool = False
    tilt_degrees: float = 0.0

    def applied(self, pixels: Pixels) -> Pixels:
        """Applies the turn to a stored picture (H, W, 3); the result is (W, H, 3) if the turn transposes."""
        if self.tilt_degrees:
            pixels = _tilted(pixels, self.tilt_degrees)
        if self.transposes:
            pixels = pixels.transpose(1, 0, 2)
        rows, columns = (-1 if flips else 1 for flips in (self.flips_y, self.flips_x))
        return pixels[::rows, ::columns]

    def undone(self, pixels: Pixels) -> Pixels:
        """Reverts the turn of a picture that a library has rotated; a tilt is not reverted."""
        rows, columns = (-1 if flips else 1 for flips in (self.flips_y, self.flips_x))
        pixels = pixels[::rows, ::columns]
        return pixels.transpose(1, 0, 2) if self.transposes else pixels


UPRIGHT = Turn()
IDENTITY = (1 << 16, 0, 0, 0, 1 << 16, 0, 0, 0, 1 << 30)


def quarter_turn(clockwise_degrees: float) -> Turn:
    """The turn by the nearest multiple of 90 degrees, without a mirror."""
    quarters = round(clockwise_degrees / 90) % 4
    return Turn(
        transposes=quarters % 2 == 1, flips_x=quarters in (1, 2), flips_y=quarters in (2, 3)
    )


def clockwise_degrees(matrix: Sequence[int]) -> float:
    """The angle of a display matrix, in [0, 360), ignoring a mirror; 0 if the matrix has no angle."""
    a, b, c, d = matrix[0], matrix[1], matrix[3], matrix[4]
    horizontal, vertical = math.hypot(a, c), math.hypot(b, d)
    if not horizontal or not vertical:
        return 0.0
    return round(math.degrees(math.atan2(b / vertical, a / horizontal))) % 360


def turn_of(matrix: Sequence[int]) -> Turn:
    """The turn of a display matrix, as FFmpeg's command applies it.

    A pixel at (x, y) is shown at (a x + c y, b x + d y), so the signs determine the mirrors.

    Args:
        matrix: 9 numbers in row order: a, b, u, c, d, v, x, y, w.
    """
    a, b, c, d = matrix[0], matrix[1], matrix[3], matrix[4]
    degrees = clockwise_degrees(matrix)
    if not a * d - b * c:  # a singular matrix would collapse the picture
        return UPRIGHT
    if abs(degrees - round(degrees / 90) * 90) >= _TOLERANCE_DEGREES:
        return Turn(tilt_degrees=degrees)
    if round(degrees / 90) % 2:
        return Turn(transposes=True, flips_x=c < 0, flips_y=b < 0)
    return Turn(flips_x=a < 0, flips_y=d < 0)


def _tilted(pixels: Pixels, degrees: float) -> Pixels:
    height, width = pixels.shape[:2]
    around = cv2.getRotationMatrix2D(((width - 1) / 2, (height - 1) / 2), -degrees, 1.0)
    tilted = cv2.warpAffine(np.ascontiguousarray(pixels), around, (width, height))
    return tilted.astype(np.uint8, copy=False)
