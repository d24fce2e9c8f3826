"""Scenes: one coloured shape on a noisy grey ground, still (a cover) or moving (a clip).

All functions are pure functions of their arguments and the random generator. Images are RGB uint8 arrays (H, W, 3);
clips are (T, H, W, 3). Positions and radii are fractions of the side, so that a pose can be drawn at any size.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import cast

import cv2
import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

Image = NDArray[np.uint8]
Points = NDArray[np.float64]

SIDE_PX = 128
FRAMES = 24
FRAMES_PER_SECOND = 12
TIMES = tuple(frame / FRAMES for frame in range(FRAMES))  # of a clip's frames, in [0, 1)

_SUBPIXEL_BITS = 4  # OpenCV's fixed-point corners, which make slow motion smooth


@dataclass(frozen=True)
class Pose:
    """The pose of a shape: centre and radius as fractions of the side, rotation in radians."""

    x: float
    y: float
    radius: float
    turn: float
    opacity: float = 1.0


def _polygon(corners: int, inner_radius: float = 1.0) -> Points:
    """The corners (N, 2) of a regular polygon or, with `inner_radius` below 1, of a star."""
    points = corners if inner_radius == 1.0 else 2 * corners
    angles = 2 * np.pi * np.arange(points) / points - np.pi / 2
    radii = np.where(np.arange(points) % 2, inner_radius, 1.0)
    return np.stack([radii * np.cos(angles), radii * np.sin(angles)], axis=1)


def _square() -> Points:
    quarter_turn = np.pi / 4 * np.array([1, 3, 5, 7])
    return np.stack([np.cos(quarter_turn), np.sin(quarter_turn)], axis=1)


SHAPES = MappingProxyType(
    {
        "circle": _polygon(48),
        "square": _square(),
        "triangle": _polygon(3),
        "star": _polygon(5, inner_radius=0.45),
    }
)

COLOURS = MappingProxyType(
    {
        "red": (215, 35, 40),
        "orange": (245, 140, 25),
        "yellow": (240, 225, 50),
        "green": (45, 165, 65),
        "blue": (40, 80, 215),
        "purple": (150, 50, 180),
    }
)


def _slide(pose: Pose, dx: float, dy: float, time: float) -> Pose:
    """Moves through the middle at half time, so that no single position reveals the direction."""
    x = 0.5 + dx * (time - 0.5) if dx else pose.x
    y = 0.5 + dy * (time - 0.5) if dy else pose.y
    return replace(pose, x=x, y=y)


def _blink(pose: Pose, time: float) -> Pose:
    """Turns off and on three times; the shape is visible at half time, where a single frame is sampled."""
    return replace(pose, opacity=float(int(6 * time) % 2 == 1))


# A motion maps the clip's pose and a time in [0, 1) to the pose at that time. "left" and "right"
# differ only in the order of the frames; the others differ in the set of the frames as well.
MOTIONS: MappingProxyType[str, Callable[[Pose, float], Pose]] = MappingProxyType(
    {
        "left": lambda pose, time: _slide(pose, -0.6, 0.0, time),
        "right": lambda pose, time: _slide(pose, 0.6, 0.0, time),
        "up": lambda pose, time: _slide(pose, 0.0, -0.6, time),
        "grow": lambda pose, time: replace(pose, radius=0.08 + 0.32 * time),
        "blink": _blink,
    }
)


def draw_ground(rng: Generator, *, side_px: int = SIDE_PX) -> Image:
    """Draws a greyish ground with random brightness, gradient, blotches and grain."""
    brightness = rng.uniform(40, 215) + rng.uniform(-12, 12, size=3)
    slope_x, slope_y = rng.uniform(-25, 25, size=2)
    y, x = np.mgrid[0:side_px, 0:side_px] / side_px - 0.5
    blotches = rng.normal(0, rng.uniform(3, 16), size=(5, 5))
    blotches = cv2.resize(blotches, (side_px, side_px), interpolation=cv2.INTER_CUBIC)
    grain = rng.normal(0, rng.uniform(1, 6), size=(side_px, side_px))
    light = slope_x * x + slope_y * y + blotches + grain
    return np.clip(brightness + light[..., None], 0, 255).astype(np.uint8)


def draw_paint(colour: str, rng: Generator) -> NDArray[np.float64]:
    """Draws a shade (3,) of a colour with small random changes of brightness and hue."""
    return np.clip(np.array(COLOURS[colour]) * rng.uniform(0.8, 1.1) + rng.normal(0, 6, 3), 0, 255)


def random_pose(rng: Generator) -> Pose:
    """Draws a pose that keeps the shape within the picture, except possibly a corner."""
    radius = rng.uniform(0.14, 0.38)
    x, y = rng.uniform(radius, 1 - radius, size=2)
    return Pose(float(x), float(y), radius, rng.uniform(-0.35, 0.35))


def draw_silhouette(shape: str, pose: Pose, *, side_px: int = SIDE_PX) -> NDArray[np.uint8]:
    """The coverage of each pixel (H, W) by the shape, from 0 to 255, with anti-aliased edges."""
    cosine, sine = np.cos(pose.turn), np.sin(pose.turn)
    corners = SHAPES[shape] @ np.array([[cosine, sine], [-sine, cosine]]) * pose.radius
    corners_px = (corners + np.array([pose.x, pose.y])) * side_px * 2**_SUBPIXEL_BITS
    silhouette = np.zeros((side_px, side_px), dtype=np.uint8)
    fixed = np.rint(corners_px).astype(np.int32)
    cv2.fillPoly(silhouette, [fixed], 255, lineType=cv2.LINE_AA, shift=_SUBPIXEL_BITS)
    return silhouette


def place(ground: Image, shape: str, paint: NDArray[np.float64], pose: Pose) -> Image:
    """A copy of `ground` with the shape drawn on it."""
    silhouette = draw_silhouette(shape, pose, side_px=ground.shape[0])
    cover = silhouette[..., None] / 255 * pose.opacity
    blend = ground * (1 - cover) + paint * cover
    return cast(Image, np.rint(blend).astype(np.uint8))


def draw_cover(shape: str, colour: str, rng: Generator, *, side_px: int = SIDE_PX) -> Image:
    """Draws a cover. It does not depend on the clip or its motion, so it contains no information on the motion."""
    ground = draw_ground(rng, side_px=side_px)
    return place(ground, shape, draw_paint(colour, rng), random_pose(rng))


def draw_frames(
    shape: str,
    colour: str,
    motion: str,
    rng: Generator,
    *,
    times: Sequence[float] = TIMES,
    side_px: int = SIDE_PX,
) -> Iterator[Image]:
    """Yields the frames of a clip at `times`; the ground is fixed and the shape moves."""
    ground, paint = draw_ground(rng, side_px=side_px), draw_paint(colour, rng)
    x, y = rng.uniform(0.35, 0.65, size=2)
    start = Pose(float(x), float(y), rng.uniform(0.16, 0.24), rng.uniform(-0.35, 0.35))
    for time in times:
        yield place(ground, shape, paint, MOTIONS[motion](start, time))
