"""A subject of the procedural faces: a shape and a palette that no expression changes.

Lengths are fractions of the face's half height. The origin is the middle of the face; x grows to the right of the
picture, y downwards, so the chin is near y = 1 and the hairline near y = -0.8.
"""

from dataclasses import dataclass, fields

import numpy as np
from numpy.random import Generator

Colour = tuple[int, int, int]  # RGB

# Lowest and highest value of each length of a shape.
_RANGES = {
    "width": (0.68, 0.80),
    "jaw": (0.50, 0.68),
    "eye_x": (0.30, 0.35),
    "eye_y": (-0.20, -0.14),
    "eye_width": (0.140, 0.170),
    "eye_height": (0.062, 0.078),
    "brow_gap": (0.20, 0.25),
    "brow_arch": (0.01, 0.05),
    "brow_thickness": (0.035, 0.060),
    "nose_length": (0.40, 0.47),
    "nose_width": (0.110, 0.150),
    "mouth_y": (0.53, 0.58),
    "mouth_width": (0.235, 0.285),
    "upper_lip": (0.050, 0.068),
    "lower_lip": (0.062, 0.085),
}
_SKINS = [
    (247, 220, 198),
    (236, 196, 165),
    (219, 170, 132),
    (186, 130, 92),
    (141, 92, 62),
    (116, 78, 56),
]
_HAIR = [(38, 28, 24), (74, 48, 32), (122, 80, 44), (196, 158, 92), (148, 62, 30), (140, 138, 136)]
_IRISES = [(70, 46, 30), (104, 74, 38), (62, 104, 70), (58, 96, 148), (88, 104, 116)]
_HAIRCUTS = 4


@dataclass(frozen=True)
class Shape:
    """The lengths of a face at rest, in half heights of the face.

    Args:
        width: half width of the face at the eyes.
        jaw: half width at the corners of the jaw.
        eye_x: distance of an eye from the midline.
        eye_y: y of the eyes.
        eye_width: half width of an eye.
        eye_height: half height of an open eye.
        brow_gap: distance of a brow from its eye.
        brow_arch: height of a brow's arch.
        brow_thickness: thickness of a brow.
        nose_length: from the eyes to the base of the nose.
        nose_width: half width at the wings of the nose.
        mouth_y: y of the line between the lips.
        mouth_width: half width of the mouth.
        upper_lip: thickness of the upper lip.
        lower_lip: thickness of the lower lip.
    """

    width: float
    jaw: float
    eye_x: float
    eye_y: float
    eye_width: float
    eye_height: float
    brow_gap: float
    brow_arch: float
    brow_thickness: float
    nose_length: float
    nose_width: float
    mouth_y: float
    mouth_width: float
    upper_lip: float
    lower_lip: float


@dataclass(frozen=True)
class Subject:
    """A person.

    Args:
        shape: the face at rest.
        skin: colour of the skin.
        hair: colour of hair and brows.
        iris: colour of the irises.
        lips: colour of the lips.
        clothes: colour of the clothes.
        haircut: 0 to 3.
    """

    shape: Shape
    skin: Colour
    hair: Colour
    iris: Colour
    lips: Colour
    clothes: Colour
    haircut: int


def draw_subject(rng: Generator) -> Subject:
    """Draws a shape and a palette uniformly."""
    shape = Shape(**{key.name: float(rng.uniform(*_RANGES[key.name])) for key in fields(Shape)})
    skin = _varied(_SKINS[int(rng.integers(len(_SKINS)))], 8, rng)
    red = np.array(skin) * (0.80, 0.55, 0.55) + (24, 6, 10)
    return Subject(
        shape,
        skin=skin,
        hair=_varied(_HAIR[int(rng.integers(len(_HAIR)))], 8, rng),
        iris=_varied(_IRISES[int(rng.integers(len(_IRISES)))], 6, rng),
        lips=_colour(red + rng.normal(0, 5, 3)),
        clothes=_colour(rng.uniform(30, 210, 3)),
        haircut=int(rng.integers(_HAIRCUTS)),
    )


def _varied(colour: Colour, spread: float, rng: Generator) -> Colour:
    return _colour(np.array(colour) + rng.normal(0, spread) + rng.normal(0, spread / 3, 3))


def _colour(values: np.ndarray) -> Colour:
    red, green, blue = (int(value) for value in np.clip(np.rint(values), 0, 255))
    return red, green, blue
