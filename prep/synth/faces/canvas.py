"""Draws polygons, lines and soft masks that are given in the coordinates of a face (`prep.synth.faces.anatomy`)."""

from dataclasses import dataclass
from functools import cache

import cv2
import numpy as np
from numpy.typing import NDArray

from prep.synth.faces.anatomy import Colour
from prep.synth.faces.expression import Points

Image = NDArray[np.uint8]  # (H, W, 3) RGB
Mask = NDArray[np.uint8]  # (H, W)

_BITS = 4  # fixed-point corners of OpenCV
_TURNS = np.linspace(0, 2 * np.pi, 40, endpoint=False)
_CIRCLE = np.stack([np.cos(_TURNS), np.sin(_TURNS)], axis=1)


@dataclass(frozen=True)
class Pose:
    """Where a face is in a picture.

    Args:
        x: middle of the face, in px.
        y: middle of the face, in px.
        radius_px: half height of the face, in px.
        roll: clockwise rotation in radians.
    """

    x: float
    y: float
    radius_px: float
    roll: float = 0.0


class Canvas:
    """Draws points of a face's coordinates into pixels.

    Args:
        pixels: (H, W, 3) RGB, drawn into.
        pose: where the face is in these pixels.
    """

    def __init__(self, pixels: NDArray[np.uint8], pose: Pose) -> None:
        self.pixels = np.ascontiguousarray(pixels)
        self.radius_px = pose.radius_px
        cosine, sine = np.cos(pose.roll), np.sin(pose.roll)
        self._turn = np.array([[cosine, sine], [-sine, cosine]]) * pose.radius_px
        self._middle = np.array([pose.x, pose.y])

    def fixed(self, points: Points) -> NDArray[np.int32]:
        """Points in OpenCV's fixed-point pixels."""
        return np.rint((points @ self._turn + self._middle) * 2**_BITS).astype(np.int32)

    def fill(self, points: Points, colour: Colour, into: NDArray[np.uint8] | None = None) -> None:
        """Fills a polygon."""
        target = self.pixels if into is None else into
        cv2.fillPoly(target, [self.fixed(points)], colour, lineType=cv2.LINE_AA, shift=_BITS)

    def line(
        self,
        points: Points,
        colour: Colour | int,
        width: float,
        into: NDArray[np.uint8] | None = None,
        *,
        closed: bool = False,
    ) -> None:
        """Draws a line with a width in half heights of the face."""
        target = self.pixels if into is None else into
        thickness = max(1, round(width * self.radius_px))
        cv2.polylines(target, [self.fixed(points)], closed, colour, thickness, cv2.LINE_AA, _BITS)

    def ellipse(
        self,
        centre: Points | tuple[float, float],
        radii: tuple[float, float],
        colour: Colour | int,
        into: NDArray[np.uint8] | None = None,
    ) -> None:
        """Fills an ellipse with axes along those of the face."""
        points = _CIRCLE * radii
        target = self.pixels if into is None else into
        cv2.fillPoly(target, [self.fixed(points + centre)], colour, cv2.LINE_AA, _BITS)

    def mask(self) -> NDArray[np.uint8]:
        """An empty mask of these pixels, (H, W)."""
        return np.zeros(self.pixels.shape[:2], np.uint8)

    def blend(self, mask: NDArray[np.uint8], colour: Colour, *, blur: float = 0.0) -> None:
        """Puts a colour over the pixels of a mask, after a blur in half heights of the face."""
        if not mask.any():
            return
        box = cv2.boundingRect(mask)
        margin = round(3 * blur * self.radius_px) + 1
        rows = slice(max(box[1] - margin, 0), box[1] + box[3] + margin)
        columns = slice(max(box[0] - margin, 0), box[0] + box[2] + margin)
        part, cover = self.pixels[rows, columns], mask[rows, columns]
        if blur:
            cover = cv2.GaussianBlur(cover, (0, 0), max(blur * self.radius_px, 0.3))
        share = cover.astype(np.float32)[..., None] / 255
        self.pixels[rows, columns] = (
            part + (np.array(colour, np.float32) - part) * share + 0.5
        ).astype(np.uint8)


def curve(points: Points, count: int = 24) -> Points:
    """A smooth curve through points, (count, 2): a Catmull-Rom spline."""
    return _spline(len(points), count) @ points


@cache
def _spline(points: int, count: int) -> NDArray[np.float64]:
    """The weights (count, points) of the points of a Catmull-Rom spline; beyond its ends, points are mirrored."""
    padded = np.concatenate([np.eye(points)[:1] * 2 - np.eye(points)[1:2], np.eye(points)])
    padded = np.concatenate([padded, 2 * np.eye(points)[-1:] - np.eye(points)[-2:-1]])
    at = np.linspace(0, points - 1, count)
    index = np.minimum(at.astype(int), points - 2)
    t = (at - index)[:, None]
    before, start, end, after = (padded[index + shift] for shift in range(4))
    weights: NDArray[np.float64] = 0.5 * (
        2 * start
        + (end - before) * t
        + (2 * before - 5 * start + 4 * end - after) * t**2
        + (3 * start - before - 3 * end + after) * t**3
    )
    return weights


def thick(line: Points, thickness: float) -> Points:
    """The polygon around a line that is thick in its first half and thin at its end."""
    share = np.linspace(0, 1, len(line))[:, None]
    half = thickness / 2 * np.minimum(1, 0.75 + share) * np.minimum(1, 1.9 * (1.08 - share))
    return np.concatenate([line - half * (0, 1), (line + half * (0, 1))[::-1]])
