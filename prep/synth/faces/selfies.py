"""Covers and clips that a face fills, as if its owner held the camera.

People are drawn anew for every picture: who somebody is tells nothing of an expression. The cover shows the face at rest.
"""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from types import MappingProxyType

import numpy as np
from numpy.random import Generator

from prep.synth.faces.anatomy import draw_subject
from prep.synth.faces.canvas import Image
from prep.synth.faces.styles import View, render
from prep.synth.scenes import COLOURS, SIDE_PX

# Intensities by action unit: units that BP4D codes, and that move different parts of the face.
EXPRESSIONS: Mapping[str, Mapping[int, float]] = MappingProxyType(
    {
        "rest": {},
        "smile": {6: 4, 12: 5},
        "frown": {4: 5, 24: 4},
        "raised brows": {1: 5, 2: 5},
        "raised lip": {10: 5, 17: 4},
    }
)
_FRAMES = 10
_HASTE = 2.0  # the expression is complete from a sixth of the clip on, until as long before its end


def draw_selfie(colour: str, rng: Generator, *, side_px: int = SIDE_PX) -> Image:
    """Draws a person at rest, in clothes of a colour; (side_px, side_px, 3) RGB uint8."""
    subject = replace(draw_subject(rng), clothes=COLOURS[colour])
    return render(subject, {}, size_px=side_px, view=View.draw(rng), rng=rng)


def draw_selfie_frames(
    expression: str, colour: str, rng: Generator, *, side_px: int = SIDE_PX
) -> Iterator[Image]:
    """Yields the frames of a clip: the face goes from rest to an expression and back.

    Args:
        expression: name in `EXPRESSIONS`.
        colour: of the clothes.
        rng: of person, view, movement of the head and grain.
        side_px: side of a frame.
    """
    subject, view = replace(draw_subject(rng), clothes=COLOURS[colour]), View.draw(rng)
    for time in (np.arange(_FRAMES) + 0.5) / _FRAMES:
        share = min(1.0, _HASTE * float(np.sin(np.pi * time)))
        actions = {au: share * value for au, value in EXPRESSIONS[expression].items()}
        yield render(subject, actions, size_px=side_px, view=view.moved(rng), rng=rng)
