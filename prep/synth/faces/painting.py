"""Paints a face into a picture.

Pictures are RGB uint8 arrays (H, W, 3). A face is painted at twice its size and scaled down, so that its edges are smooth.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import cast

import cv2
import numpy as np

from prep.synth.faces.anatomy import Colour, Subject
from prep.synth.faces.canvas import Canvas, Image, Pose, curve, thick
from prep.synth.faces.expression import Bulge, Furrow, Landmarks, Mouth, Points, landmarks

_SCALE = 2
_REACH = (1.05, 1.35, 1.75)  # of the painted region from the middle of the face: sides, top, bottom


@dataclass(frozen=True)
class Ink:
    """How strongly lines are drawn.

    Args:
        furrows: opacity of the deepest furrow, 0 to 1.
        outline: width of outlines, in half heights of the face; 0 for none.
    """

    furrows: float = 0.7
    outline: float = 0.0


def paint(
    picture: Image,
    subject: Subject,
    intensities: Mapping[int, float],
    pose: Pose,
    *,
    ink: Ink | None = None,
) -> None:
    """Paints a subject's face into a picture, which may show only a part of it.

    Args:
        picture: (H, W, 3) RGB, changed in place.
        subject: the person.
        intensities: 0 to 5 by AU number; AUs that are absent are at rest.
        pose: where the face is.
        ink: how strongly lines are drawn.
    """
    side, top, bottom = (int(np.ceil(reach * pose.radius_px)) for reach in _REACH)
    side = max(side, bottom) if pose.roll else side
    left, upper = int(pose.x) - side, int(pose.y) - max(top, side if pose.roll else 0)
    right, lower = int(pose.x) + side, int(pose.y) + bottom
    height, width = picture.shape[:2]
    shown = (slice(max(upper, 0), min(lower, height)), slice(max(left, 0), min(right, width)))
    if shown[0].start >= shown[0].stop or shown[1].start >= shown[1].stop:
        return
    region = picture[shown]
    canvas = Canvas(
        cv2.resize(region, None, fx=_SCALE, fy=_SCALE, interpolation=cv2.INTER_LINEAR),
        Pose(
            _SCALE * (pose.x - shown[1].start),
            _SCALE * (pose.y - shown[0].start),
            _SCALE * pose.radius_px,
            pose.roll,
        ),
    )
    _paint(canvas, subject, landmarks(subject.shape, intensities), ink or Ink())
    size = (region.shape[1], region.shape[0])
    picture[shown] = cv2.resize(canvas.pixels, size, interpolation=cv2.INTER_AREA)


def _paint(canvas: Canvas, subject: Subject, face: Landmarks, ink: Ink) -> None:
    outline = _outline(subject, face)
    _back(canvas, subject, face)
    canvas.fill(outline, subject.skin)
    if ink.outline:
        canvas.line(outline, _shaded(subject.skin, 0.45), ink.outline, closed=True)
    _shade(canvas, subject, face.bulges, outline)
    _furrows(canvas, subject, face.furrows, ink)
    for side in (1.0, -1.0):
        _eye(canvas, subject, face, side)
        brow = thick(curve(face.brow), subject.shape.brow_thickness) * (side, 1)
        canvas.fill(brow, _brow_colour(subject))
    _nose(canvas, subject, face)
    _lips(canvas, subject, face.mouth, ink)
    _fringe(canvas, subject)


def _outline(subject: Subject, face: Landmarks) -> Points:
    shape = subject.shape
    side = np.array(
        [
            [0.0, -1.0],
            [0.62 * shape.width, -0.90],
            [0.95 * shape.width, -0.55],
            [shape.width, -0.10],
            [0.95 * shape.width, 0.30],
            [shape.jaw, 0.66 + 0.6 * (face.chin_y - 1)],
            [0.55 * shape.jaw, 0.90 + 0.9 * (face.chin_y - 1)],
            [0.0, face.chin_y],
        ]
    )
    right = curve(side, 64)
    return np.concatenate([right, right[::-1] * (-1, 1)])


def _back(canvas: Canvas, subject: Subject, face: Landmarks) -> None:
    """Hair behind the face, neck, clothes and ears."""
    shape, dark = subject.shape, _shaded(subject.skin, 0.8)
    if subject.haircut != 0:
        canvas.ellipse((0, -0.35), (shape.width + 0.14, 0.88), subject.hair)
    if subject.haircut == 3:
        x = shape.width + 0.13
        canvas.fill(
            np.array([[-x, -0.4], [x, -0.4], [x + 0.02, 1.0], [-x - 0.02, 1.0]]), subject.hair
        )
    shoulders = [[-0.34, 1.15], [-1.0, 1.45], [-1.1, 2.2], [1.1, 2.2], [1.0, 1.45], [0.34, 1.15]]
    canvas.fill(np.array(shoulders), subject.clothes)
    canvas.fill(np.array([[-0.34, 0.5], [0.34, 0.5], [0.36, 1.2], [0.0, 1.38], [-0.36, 1.2]]), dark)
    for side in (1, -1):
        canvas.ellipse((side * (shape.width + 0.01), shape.eye_y + 0.16), (0.075, 0.17), dark)


def _fringe(canvas: Canvas, subject: Subject) -> None:
    """Hair over the forehead. It ends above the furrows of a raised brow."""
    if subject.haircut == 0:
        return
    width = subject.shape.width
    parting = {1: 0.0, 2: 0.35, 3: -0.3}[subject.haircut] * width
    top = curve(
        np.array(
            [
                [-width - 0.1, -0.45],
                [-0.75 * width, -1.0],
                [0.0, -1.2],
                [0.75 * width, -1.0],
                [width + 0.1, -0.45],
            ]
        )
    )
    edge = curve(
        np.array(
            [
                [width, -0.5],
                [0.8 * width, -0.72],
                [parting, -0.88],
                [-0.8 * width, -0.72],
                [-width, -0.5],
            ]
        )
    )
    canvas.fill(np.concatenate([top, edge]), subject.hair)


def _shade(canvas: Canvas, subject: Subject, bulges: Sequence[Bulge], outline: Points) -> None:
    light, dark = canvas.mask(), canvas.mask()
    for bulge in bulges:
        mask = light if bulge.light > 0 else dark
        for side in (1, -1) if bulge.centre[0] else (1,):
            centre = (side * bulge.centre[0], bulge.centre[1])
            canvas.ellipse(centre, bulge.radii, int(200 * abs(bulge.light)), mask)
    canvas.line(outline, 70, 0.10, dark, closed=True)
    inside = canvas.mask()
    canvas.fill(outline, (255, 255, 255), inside)
    for mask, share in ((dark, 0.62), (light, 1.0)):
        colour = _shaded(subject.skin, share) if share < 1 else _lightened(subject.skin)
        blurred = cv2.GaussianBlur(mask, (0, 0), 0.03 * canvas.radius_px)
        canvas.blend(cv2.min(blurred, inside), colour)


def _furrows(canvas: Canvas, subject: Subject, furrows: Sequence[Furrow], ink: Ink) -> None:
    """Dark lines, with light on the skin below them, so that they show on any skin."""
    dark, light = canvas.mask(), canvas.mask()
    for furrow in sorted(furrows, key=lambda furrow: furrow.depth):
        if furrow.depth <= 0.02:
            continue
        depth = furrow.depth**0.6
        points = curve(furrow.points) if len(furrow.points) > 2 else furrow.points
        opacity, width = int(255 * ink.furrows * depth), 0.016 + 0.012 * depth
        for side in (1, -1) if furrow.mirrored else (1,):
            canvas.line(points * (side, 1), opacity, width, dark)
            canvas.line(points * (side, 1) + (0.0, 0.026), opacity, width, light)
    canvas.blend(light, _lightened(subject.skin), blur=0.008)
    share = 0.3 + 0.2 * sum(subject.skin) / (3 * 255)
    red, green, blue = _shaded(subject.skin, share)
    canvas.blend(dark, (red, int(0.8 * green), int(0.75 * blue)), blur=0.006)


def _eye(canvas: Canvas, subject: Subject, face: Landmarks, side: float) -> None:
    upper, lower = face.upper_lid * (side, 1), face.lower_lid * (side, 1)
    opening = np.concatenate([upper, lower[::-1]])
    inside = canvas.mask()
    canvas.fill(opening, (255, 255, 255), inside)
    canvas.blend(inside, (244, 242, 238))
    iris = canvas.mask()
    canvas.ellipse(face.iris * (side, 1), (face.iris_radius,) * 2, 255, iris)
    canvas.blend(cv2.min(iris, inside), subject.iris)
    pupil = canvas.mask()
    canvas.ellipse(face.iris * (side, 1), (0.45 * face.iris_radius,) * 2, 255, pupil)
    canvas.blend(cv2.min(pupil, inside), (18, 14, 14))
    canvas.line(upper, (42, 28, 26), 0.022)
    canvas.line(lower, _shaded(subject.skin, 0.5), 0.010)
    fold = upper * (1, 1) + (0, -0.035)
    canvas.line(fold[2:-1], _shaded(subject.skin, 0.68), 0.010)


def _nose(canvas: Canvas, subject: Subject, face: Landmarks) -> None:
    line = _shaded(subject.skin, 0.6)
    tip, mask = face.nose_tip, canvas.mask()
    for side in (1, -1):
        canvas.line(curve(face.wing) * (side, 1), 230, 0.018, mask)
        bridge = np.array([[0.075, subject.shape.eye_y], [0.055, tip[1] - 0.2]])
        canvas.line(bridge * (side, 1), 60, 0.02, mask)
    base = np.array([face.wing[-1], tip, face.wing[-1] * (-1, 1)])
    canvas.line(curve(base), 200, 0.016, mask)
    canvas.blend(mask, line, blur=0.006)
    for side in (1, -1):
        nostril = face.wing[-1] * (side * 1.05, 1) + (0, -0.005)
        canvas.ellipse(nostril, (0.030, 0.014), _shaded(subject.skin, 0.35))


def _lips(canvas: Canvas, subject: Subject, mouth: Mouth, ink: Ink) -> None:
    inside = np.concatenate([mouth.upper_bottom, mouth.lower_top[::-1]])
    gap = float((mouth.lower_top - mouth.upper_bottom)[:, 1].max())
    if gap > 0.004:
        canvas.fill(inside, (58, 18, 22))
        teeth = np.minimum(mouth.lower_top[:, 1], mouth.upper_bottom[:, 1] + 0.055)
        edge = np.stack([mouth.upper_bottom[:, 0], teeth], axis=1)[4:-4]
        canvas.fill(np.concatenate([mouth.upper_bottom[4:-4], edge[::-1]]), (236, 232, 222))
    upper = np.concatenate([mouth.upper_top, mouth.upper_bottom[::-1]])
    lower = np.concatenate([mouth.lower_top, mouth.lower_bottom[::-1]])
    canvas.fill(upper, _shaded(subject.lips, 0.88))
    canvas.fill(lower, subject.lips)
    between = _shaded(subject.lips, 0.45 - 0.2 * mouth.pressed)
    width = 0.013 + 0.022 * mouth.pressed
    canvas.line(mouth.upper_bottom, between, width)
    if gap > 0.004:
        canvas.line(mouth.lower_top, between, 0.012)
    if ink.outline:
        for lip in (upper, lower):
            canvas.line(lip, _shaded(subject.lips, 0.5), 0.6 * ink.outline, closed=True)


def _brow_colour(subject: Subject) -> Colour:
    """Darker than the hair, so that brows show on any skin."""
    pairs = zip(subject.hair, subject.skin, strict=True)
    return cast(Colour, tuple(int(0.4 * hair + 0.2 * skin) for hair, skin in pairs))


def _shaded(colour: Colour, share: float) -> Colour:
    return cast(Colour, tuple(int(share * value) for value in colour))


def _lightened(colour: Colour) -> Colour:
    return cast(Colour, tuple(min(255, int(1.22 * value + 20)) for value in colour))
