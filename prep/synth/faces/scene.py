"""Whole pictures and clips: a face somewhere in a scene, as in a micro-video."""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from numpy.random import Generator

from prep.synth.faces.anatomy import Subject
from prep.synth.faces.canvas import Image, Pose
from prep.synth.faces.painting import paint
from prep.synth.scenes import SIDE_PX, draw_ground

_RADIUS = (0.16, 0.26)  # half height of a face, of the side of the picture


def draw_face_frames(
    subject: Subject,
    intensities: Sequence[Mapping[int, float]],
    rng: Generator,
    *,
    side_px: int = SIDE_PX,
) -> Iterator[Image]:
    """Yields the frames of a clip, (side_px, side_px, 3) RGB uint8: the ground is fixed, the head moves a little.

    `prep.synth.dump.write_clip` writes them as a video.

    Args:
        subject: the person.
        intensities: of each frame, 0 to 5 by AU number; one for a still picture.
        rng: of ground, place and movement.
        side_px: side of a frame.
    """
    ground = draw_ground(rng, side_px=side_px)
    radius = rng.uniform(*_RADIUS)
    x, y = rng.uniform(1.3 * radius, 1 - 1.3 * radius, 2)
    roll = rng.normal(0, 0.1)
    sway, turn = rng.uniform(0, 0.15 * radius, 2), rng.normal(0, 0.05)
    for frame, actions in enumerate(intensities):
        phase = np.sin(2 * np.pi * frame / max(len(intensities), 2))
        picture = ground.copy()
        centre = (np.array([x, y]) + sway * phase) * side_px
        pose = Pose(float(centre[0]), float(centre[1]), radius * side_px, roll + turn * phase)
        paint(picture, subject, actions, pose)
        yield picture
