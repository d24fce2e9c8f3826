"""How the pictures of a synthetic dataset look, and which AUs it codes: one style like BP4D, one like DISFA."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import cast

import cv2
import numpy as np
from numpy.random import Generator

from prep.synth.faces.anatomy import Colour, Subject
from prep.synth.faces.canvas import Image, Pose
from prep.synth.faces.painting import Ink, paint
from toolkit.facs import dataset_units

_RADIUS = 0.40  # half height of a face, of the side of its picture


@dataclass(frozen=True)
class Style:
    """A synthetic dataset.

    Args:
        name: name of its folder and the beginning of the names of its lists.
        units: the AUs that its lists code, in their order.
        prefixes: letters before the number of a subject, in turn.
        sequences: names of each subject's sequences; an empty name for one without a folder of its own.
        first_frame: number of the first frame of a sequence.
        suffix: of the pictures.
        ground: colour of the background.
        ink: how lines are drawn.
        contrast: of the picture, 1 for as painted.
        side_light: darkening from one side of the picture to the other, 0 to 1.
        noise: standard deviation of the grain, of 255.
        blur_px: standard deviation of the blur at a side of 112 px.
    """

    name: str
    units: tuple[int, ...]
    prefixes: tuple[str, ...]
    sequences: tuple[str, ...]
    first_frame: int
    suffix: str
    ground: Colour
    ink: Ink
    contrast: float
    side_light: float
    noise: float
    blur_px: float

    def subject_id(self, row: int) -> str:
        """The id of the subject in a row, from 0.

        >>> STYLES["bp4d"].subject_id(2), STYLES["disfa"].subject_id(2)
        ('F002', 'SN003')
        """
        return f"{self.prefixes[row % len(self.prefixes)]}{row // len(self.prefixes) + 1:03d}"


STYLES = MappingProxyType(
    {
        "bp4d": Style(
            name="BP4D-synth",
            units=dataset_units()["bp4d"],
            prefixes=("F", "M"),
            sequences=("T1", "T2", "T3", "T4"),
            first_frame=1,
            suffix=".jpg",
            ground=(196, 200, 204),
            ink=Ink(furrows=0.8),
            contrast=1.0,
            side_light=0.1,
            noise=2.0,
            blur_px=0.0,
        ),
        "disfa": Style(
            name="DISFA-synth",
            units=dataset_units()["disfa"],
            prefixes=("SN",),
            sequences=("",),
            first_frame=0,
            suffix=".png",
            ground=(38, 54, 86),
            ink=Ink(furrows=0.8, outline=0.018),
            contrast=0.75,
            side_light=0.35,
            noise=5.0,
            blur_px=0.6,
        ),
    }
)


@dataclass(frozen=True)
class View:
    """Where the face is in its picture, and the light of a frame.

    Args:
        dx: shift to the right, of the picture's side.
        dy: shift downwards.
        size: of the face, 1 for the usual size.
        roll: clockwise rotation in radians.
        light: brightness, 1 for as painted.
        from_left: whether the light comes from the left.
    """

    dx: float = 0.0
    dy: float = 0.0
    size: float = 1.0
    roll: float = 0.0
    light: float = 1.0
    from_left: bool = True

    @classmethod
    def draw(cls, rng: Generator) -> "View":
        """Draws the view of a sequence."""
        dx, dy = rng.normal(0, 0.015, 2)
        return cls(
            float(dx),
            float(dy),
            float(rng.uniform(0.92, 1.06)),
            float(rng.normal(0, 0.04)),
            float(rng.uniform(0.88, 1.08)),
            bool(rng.integers(2)),
        )

    def moved(self, rng: Generator) -> "View":
        """The view of a frame: the head moves a little around its place in the sequence."""
        dx, dy, roll = rng.normal(0, (0.006, 0.006, 0.012))
        return replace(self, dx=self.dx + dx, dy=self.dy + dy, roll=self.roll + roll)


def render(
    subject: Subject,
    intensities: Mapping[int, float],
    *,
    size_px: int = 112,
    style: Style = STYLES["bp4d"],
    view: View | None = None,
    rng: Generator | None = None,
) -> Image:
    """A square picture of a face, (size_px, size_px, 3) RGB uint8.

    Args:
        subject: the person.
        intensities: 0 to 5 by AU number; AUs that are absent are at rest.
        size_px: side of the picture.
        style: how it looks.
        view: where the face is; by default in the middle.
        rng: of the grain; without it, the picture has none.
    """
    view = view or View()
    picture = np.empty((size_px, size_px, 3), np.uint8)
    picture[:] = style.ground
    pose = Pose(
        size_px * (0.5 + view.dx),
        size_px * (0.47 + view.dy),
        size_px * _RADIUS * view.size,
        view.roll,
    )
    paint(picture, subject, intensities, pose, ink=style.ink)
    return _exposed(picture, style, view, rng)


def _exposed(picture: Image, style: Style, view: View, rng: Generator | None) -> Image:
    """Blur, light, contrast and grain of a picture."""
    size_px = picture.shape[1]
    if style.blur_px:
        picture = cast(Image, cv2.GaussianBlur(picture, (0, 0), style.blur_px * size_px / 112))
    falloff = 1 - style.side_light * np.linspace(0, 1, size_px, dtype=np.float32)
    light = view.light * (falloff if view.from_left else falloff[::-1])
    values = (picture.astype(np.float32) - 128) * style.contrast + 128
    values *= light[None, :, None]
    if rng is not None:
        grain = rng.standard_normal(picture.shape[:2], dtype=np.float32)
        values += style.noise * grain[..., None]
    return cast(Image, np.clip(values + 0.5, 0, 255).astype(np.uint8))
