"""Where the parts of a face lie at given intensities of its action units (AUs), after the descriptions of FACS.

Every AU moves its part, increasing with its intensity, and deepens the furrows and bulges that FACS names for it. Movements of several
AUs add up. Lengths and axes are those of `prep.synth.faces.anatomy`; points are (N, 2) arrays of x, y. Parts that a face
has twice are given for x > 0; the painter mirrors them.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from prep.synth.faces.anatomy import Shape
from toolkit.facs import HIGHEST_INTENSITY

Points = NDArray[np.float64]
Actions = Callable[[int], float]  # intensity of an AU as a share, 0 to 1

_MOUTH_POINTS = 33
_VISIBILITY = (
    0.8  # exponent below 1: an intensity of 2, the lowest that counts as active, is plain to see
)


class Furrow(NamedTuple):
    """A line in the skin.

    Args:
        points: of the line.
        depth: 0 to 1.
        mirrored: whether the other side has it too.
    """

    points: Points
    depth: float
    mirrored: bool = True


class Bulge(NamedTuple):
    """A soft ellipse of lighter or darker skin.

    Args:
        centre: x, y.
        radii: along x and y.
        light: from -1 (shadow) to 1.
    """

    centre: tuple[float, float]
    radii: tuple[float, float]
    light: float


@dataclass(frozen=True)
class Mouth:
    """Edges of the lips from the left corner to the right one, (33, 2) each.

    Args:
        upper_top: upper edge of the upper lip.
        upper_bottom: its lower edge.
        lower_top: upper edge of the lower lip.
        lower_bottom: its lower edge.
        pressed: 0 to 1, how dark the line between closed lips is.
    """

    upper_top: Points
    upper_bottom: Points
    lower_top: Points
    lower_bottom: Points
    pressed: float


@dataclass(frozen=True)
class Landmarks:
    """The moving parts of a face.

    Args:
        chin_y: lowest point of the face.
        brow: centre line of a brow, from its inner to its outer end.
        upper_lid: edge of the upper lid, from the inner to the outer corner.
        lower_lid: edge of the lower lid.
        iris: centre of an iris.
        iris_radius: its radius.
        wing: outline of a wing of the nose, from its top to the nostril.
        nose_tip: lowest point of the nose on the midline.
        mouth: the lips.
        furrows: lines in the skin.
        bulges: light and shadow.
    """

    chin_y: float
    brow: Points
    upper_lid: Points
    lower_lid: Points
    iris: Points
    iris_radius: float
    wing: Points
    nose_tip: Points
    mouth: Mouth
    furrows: list[Furrow]
    bulges: list[Bulge]


def landmarks(shape: Shape, intensities: Mapping[int, float]) -> Landmarks:
    """The parts of a face.

    Args:
        shape: the face at rest.
        intensities: 0 to 5 by AU number; AUs that are absent are at rest.
    """

    def act(unit: int) -> float:
        share = intensities.get(unit, 0.0) / HIGHEST_INTENSITY
        return float(min(max(share, 0.0), 1.0) ** _VISIBILITY)

    drop = 0.20 * act(26)
    brow, mouth = _brow(shape, act), _mouth(shape, act, drop)
    upper_lid, lower_lid = _lids(shape, act)
    nose_y = shape.eye_y + shape.nose_length
    wing_y = nose_y - 0.075 * act(9) - 0.03 * act(10)
    flare = shape.nose_width + 0.03 * act(9)
    return Landmarks(
        chin_y=1.0 + drop - 0.05 * act(17),
        brow=brow,
        upper_lid=upper_lid,
        lower_lid=lower_lid,
        iris=np.array([shape.eye_x, shape.eye_y - 0.1 * shape.eye_height]),
        iris_radius=0.98 * shape.eye_height,
        wing=np.array(
            [
                [0.55 * flare, wing_y - 0.11],
                [flare, wing_y - 0.045],
                [0.92 * flare, wing_y + 0.01],
                [0.5 * flare, wing_y],
            ]
        ),
        nose_tip=np.array([0.0, nose_y + 0.03 - 0.03 * act(9)]),
        mouth=mouth,
        furrows=[
            *_upper_furrows(shape, brow, act),
            *_lower_furrows(shape, mouth, (flare, wing_y), act),
        ],
        bulges=[*_bulges(shape, mouth, act)],
    )


def _brow(shape: Shape, act: Actions) -> Points:
    y = shape.eye_y - shape.brow_gap
    inner, outer = shape.eye_x - 1.05 * shape.eye_width, shape.eye_x + 1.35 * shape.eye_width
    at_rest = np.array(
        [
            [inner, y + 0.02],
            [shape.eye_x - 0.35 * shape.eye_width, y - 0.3 * shape.brow_arch],
            [shape.eye_x + 0.45 * shape.eye_width, y - shape.brow_arch],
            [outer, y + 0.03],
        ]
    )
    raised_inside = np.array([[0.0, -0.15], [0.0, -0.09], [0.0, -0.01], [0.0, 0.01]])
    raised_outside = np.array([[0.0, 0.0], [0.0, -0.04], [0.0, -0.12], [0.0, -0.14]])
    lowered = np.array([[-0.06, 0.11], [-0.05, 0.10], [-0.03, 0.07], [-0.02, 0.035]])
    return (
        at_rest
        + act(1) * raised_inside
        + act(2) * raised_outside
        + act(4) * lowered
        + act(9) * np.array([0.0, 0.02])
    )


def _lids(shape: Shape, act: Actions) -> tuple[Points, Points]:
    along = np.linspace(-1, 1, 15)
    x = shape.eye_x + shape.eye_width * along
    arc = (1 - along**2) ** 0.8
    tilt = -0.012 * along
    opening = 1 + 0.9 * act(5) - 0.48 * act(7) - 0.08 * act(6)
    lower = 0.8 * (1 - 0.85 * act(7) - 0.45 * act(6))
    upper_y = shape.eye_y - shape.eye_height * opening * arc + tilt
    lower_y = shape.eye_y + shape.eye_height * lower * arc + tilt
    return np.stack([x, upper_y], axis=1), np.stack([x, lower_y], axis=1)


def _mouth(shape: Shape, act: Actions, drop: float) -> Mouth:
    along = np.linspace(-1, 1, _MOUTH_POINTS)
    width = shape.mouth_width * (
        1 + 0.20 * act(12) + 0.35 * act(20) - 0.08 * act(14) - 0.34 * act(23) + 0.05 * act(24)
    )
    middle = 1 - along**2
    parted = min(1.0, 2.5 * act(25))  # whether a dropped jaw opens the lips
    corner = -0.14 * act(12) + 0.12 * act(15) + 0.02 * act(20)
    line = (
        shape.mouth_y
        + corner * along**2
        + 0.03 * act(12) * middle
        - 0.075 * act(17) * middle
        + 0.35 * drop * (1 - parted)
    )
    raised = (0.085 * act(10) + 0.02 * act(9)) * (1 - along**4)
    gap = (0.09 * act(25) + 0.95 * drop * parted) * middle**0.7
    upper = shape.upper_lip * (1 - 0.60 * act(23) - 0.72 * act(24) - 0.3 * act(20) - 0.2 * act(12))
    lower = shape.lower_lip * (1 - 0.55 * act(23) - 0.72 * act(24) - 0.3 * act(20) + 0.3 * act(17))
    bow = (1 - np.abs(along) ** 2.2) * (1 - 0.22 * np.exp(-((along / 0.16) ** 2)))
    upper_bottom = line - raised - 0.15 * gap
    lower_top = line + 0.85 * gap
    x = width * along
    return Mouth(
        upper_top=np.stack([x, upper_bottom - upper * bow], axis=1),
        upper_bottom=np.stack([x, upper_bottom], axis=1),
        lower_top=np.stack([x, lower_top], axis=1),
        lower_bottom=np.stack([x, lower_top + lower * middle**0.8], axis=1),
        pressed=act(24),
    )


def _upper_furrows(shape: Shape, brow: Points, act: Actions) -> Iterator[Furrow]:
    inner = brow[0]
    above = shape.eye_y - shape.brow_gap
    for row in (0.14, 0.22, 0.30):  # forehead
        y = above - row
        centre = [[-0.24, y + 0.03], [0.0, y], [0.24, y + 0.03]]
        yield Furrow(np.array(centre), act(1), mirrored=False)
        side = [[0.30, y + 0.02], [0.43, y - 0.03], [0.58, y + 0.03]]
        yield Furrow(np.array(side), act(2))
    glabella = [[0.045, inner[1] - 0.10], [0.035, inner[1] - 0.02], [0.06, inner[1] + 0.07]]
    yield Furrow(np.array(glabella), act(4))
    for turn in (-0.6, -0.1, 0.4):  # crow's feet
        start = np.array([shape.eye_x + 1.25 * shape.eye_width, shape.eye_y + 0.08 * turn])
        yield Furrow(
            np.stack([start, start + 0.15 * np.array([np.cos(turn), np.sin(turn)])]), act(6)
        )
    x, y = shape.eye_x, shape.eye_y
    below = [[x - 0.16, y + 0.12], [x, y + 0.165 - 0.02 * act(6)], [x + 0.17, y + 0.09]]
    yield Furrow(np.array(below), act(6))
    pouch = [[x - 0.13, y + 0.055], [x, y + 0.085], [x + 0.13, y + 0.05]]
    yield Furrow(np.array(pouch), 0.9 * act(7))
    for row in (0.00, 0.06, 0.12):  # across the root of the nose, and down its sides
        root = [[-0.075, y + row + 0.012], [0.0, y + row - 0.012], [0.075, y + row + 0.012]]
        yield Furrow(np.array(root), act(9), mirrored=False)
    for shift in (0.0, 0.05):
        side = [[0.07 + shift, y + 0.14], [0.13 + shift, y + 0.24]]
        yield Furrow(np.array(side), act(9))


def _lower_furrows(
    shape: Shape, mouth: Mouth, wing: tuple[float, float], act: Actions
) -> Iterator[Furrow]:
    x, y = mouth.upper_bottom[-1]
    flare, wing_y = wing
    smile = [[flare + 0.05, wing_y - 0.03], [x + 0.04, y - 0.14], [x + 0.11, y + 0.04]]
    yield Furrow(np.array(smile), act(12))
    sneer = [
        [flare + 0.01, wing_y - 0.15],
        [flare + 0.10, wing_y - 0.06],
        [flare + 0.14, wing_y + 0.10],
    ]
    yield Furrow(np.array(sneer), act(10))
    for shift in (0.05, 0.10):  # dimples
        dimple = [[x + shift, y - 0.075], [x + shift + 0.035, y], [x + shift, y + 0.075]]
        yield Furrow(np.array(dimple), act(14) * (1.0 if shift < 0.1 else 0.6))
    sad = [[x + 0.02, y + 0.03], [x + 0.055, y + 0.11], [x + 0.03, y + 0.20]]
    yield Furrow(np.array(sad), act(15))
    stretched = [[x + 0.07, y - 0.11], [x + 0.05, y], [x + 0.07, y + 0.11]]
    yield Furrow(np.array(stretched), act(20))
    chin = shape.mouth_y + 0.19 - 0.06 * act(17)
    fold = [[-0.15, chin + 0.03], [0.0, chin - 0.01], [0.15, chin + 0.03]]
    yield Furrow(np.array(fold), 0.25 + 0.75 * act(17), mirrored=False)
    for at in ((0.0, 0.10), (0.08, 0.07), (0.05, 0.15), (0.12, 0.13)):  # pits of a raised chin
        pit = np.array([[-0.022, 0.0], [0.0, 0.018], [0.022, 0.0]])
        yield Furrow(pit + np.array([at[0], chin + at[1]]), act(17))
    for share in (0.12, 0.38, 0.64):  # radial lines around tight lips
        point = _MOUTH_POINTS // 2 + int(share * (_MOUTH_POINTS // 2))
        for edge, length in ((mouth.upper_top, -0.075), (mouth.lower_bottom, 0.075)):
            x, y = edge[point]
            radial = [[x, y + 0.25 * length], [x + 0.25 * share * abs(length), y + 1.25 * length]]
            yield Furrow(np.array(radial), act(23))


def _bulges(shape: Shape, mouth: Mouth, act: Actions) -> Iterator[Bulge]:
    cheek_y = shape.eye_y + 0.38
    yield Bulge((0.42, cheek_y - 0.12 * act(6) - 0.05 * act(12)), (0.15, 0.10), 0.30 + 0.5 * act(6))
    yield Bulge((0.44, cheek_y + 0.06 - 0.08 * act(6)), (0.17, 0.05), -0.55 * act(6))
    x, y = mouth.upper_bottom[-1]
    yield Bulge((x + 0.06, y), (0.04, 0.05), -0.8 * act(14))
    top, bottom = mouth.upper_top[:, 1].min(), mouth.lower_bottom[:, 1].max()
    yield Bulge((0.0, top - 0.05), (0.22, 0.03), 0.9 * act(24))
    yield Bulge((0.0, bottom + 0.05), (0.20, 0.035), 0.9 * act(24))
    yield Bulge((x + 0.03, y), (0.03, 0.06), 0.7 * act(24))
    yield Bulge((0.0, shape.mouth_y + 0.29 - 0.05 * act(17)), (0.13, 0.08), 0.2 + 0.5 * act(17))
    yield Bulge((0.06, shape.eye_y - shape.brow_gap + 0.02), (0.05, 0.09), -0.6 * act(4))
