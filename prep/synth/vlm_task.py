"""What the bundled tiny VLM is taught: to say shape, colour and motion of a picture or a clip.

A fifth of the (shape, colour) pairs and, of the others, nine (shape, colour, motion) triples are
never shown.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from typing import NamedTuple, cast

import cv2
import numpy as np
from numpy.random import Generator

from prep.pictures.pixels import to_jpeg
from prep.pictures.video.sampling import segment_midpoints
from prep.synth.scenes import (
    COLOURS,
    FRAMES,
    FRAMES_PER_SECOND,
    MOTIONS,
    SHAPES,
    Image,
    draw_cover,
    draw_frames,
)
from prep.synth.vit_task import HELD_OUT

FRAMES_TAKEN = 5


MOTION_PHRASES = {
    "left": "moving left",
    "right": "moving right",
    "up": "moving up",
    "grow": "growing",
    "blink": "blinking",
}
_KEY_WORDS = {motion: phrase.split()[-1] for motion, phrase in MOTION_PHRASES.items()}

# The words of captions that name each attribute.
WORDS = {"shape": set(SHAPES), "colour": set(COLOURS), "motion": set(_KEY_WORDS.values())}


class Scene(NamedTuple):
    """What there is to see; a cover has no motion."""

    shape: str
    colour: str
    motion: str | None = None

    def words(self) -> dict[str, str]:
        """The word of `WORDS` that is right for each attribute.

        >>> Scene("star", "red", "grow").words()
        {'shape': 'star', 'colour': 'red', 'motion': 'growing'}
        """
        words = {"shape": self.shape, "colour": self.colour}
        return words if self.motion is None else words | {"motion": _KEY_WORDS[self.motion]}


_HELD_OUT_MOTIONS = {
    Scene("circle", "orange", "left"),
    Scene("circle", "green", "grow"),
    Scene("square", "red", "right"),
    Scene("square", "purple", "blink"),
    Scene("triangle", "yellow", "up"),
    Scene("triangle", "orange", "blink"),
    Scene("star", "blue", "left"),
    Scene("star", "red", "up"),
    Scene("star", "green", "right"),
}


def is_held_out(scene: Scene) -> bool:
    """Whether training never shows it."""
    return (scene.shape, scene.colour) in HELD_OUT or scene in _HELD_OUT_MOTIONS


_VALUES: dict[str, Iterable[str]] = {"shape": SHAPES, "colour": COLOURS, "motion": MOTIONS}
COVERS = tuple(Scene(*words) for words in product(SHAPES, COLOURS))
CLIPS = tuple(Scene(*words) for words in product(SHAPES, COLOURS, MOTIONS))


def seen(scenes: Sequence[Scene]) -> list[Scene]:
    """The scenes that training shows."""
    return [scene for scene in scenes if not is_held_out(scene)]


def held_out(scenes: Sequence[Scene]) -> list[Scene]:
    """The scenes that training never shows."""
    return [scene for scene in scenes if is_held_out(scene)]


_TONES = ((100, "dark grey"), (155, "grey"), (256, "light grey"))  # below this grey level
_PHRASES = ["a an on ground", *(tone for _, tone in _TONES), *MOTION_PHRASES.values()]
CAPTION_WORDS = tuple(dict.fromkeys([*" ".join(_PHRASES).split(), *COLOURS, *SHAPES]))


def caption(scene: Scene, frames: Sequence[Image]) -> str:
    """The target caption of a scene; the tone of the ground is determined from the pixels.

    >>> caption(Scene("star", "orange", "left"), [np.full((8, 8, 3), 90, np.uint8)])
    'an orange star moving left on a dark grey ground'
    """
    level = float(np.median(np.stack(frames)))
    tone = next(words for below, words in _TONES if level < below)
    article = "an" if scene.colour == "orange" else "a"
    motion = [MOTION_PHRASES[scene.motion]] if scene.motion else []
    return " ".join([article, scene.colour, scene.shape, *motion, f"on a {tone} ground"])


def words_never_shown_with(scene: Scene) -> set[str]:
    """The words that would turn the scene into a held-out scene if they replaced one of its own.

    >>> sorted(words_never_shown_with(Scene("star", "red")))
    ['circle', 'yellow']
    """
    words: set[str] = set()
    for attribute, values in _VALUES.items():
        if getattr(scene, attribute) is not None:
            others = [scene._replace(**{attribute: value}) for value in values]
            words |= {other.words()[attribute] for other in others if is_held_out(other)}
    return words


@dataclass(frozen=True)
class Example:
    """A scene as prep stores it, with its caption; a cover is one frame, a clip several frames in order."""

    scene: Scene
    frames: list[Image]
    caption: str


def draw_examples(
    scenes: Sequence[Scene], count: int, rng: Generator, *, grey: float = 0.0
) -> Iterator[Example]:
    """Draws examples of uniformly drawn scenes, at the size of dumps and after JPEG compression.

    Args:
        scenes: scenes to draw from.
        count: number of examples.
        rng: random generator.
        grey: fraction of black-and-white examples, whose caption is "a grey star". They make the name of a shape
            independent of its colour.
    """
    for _ in range(count):
        scene = scenes[int(rng.integers(len(scenes)))]
        if scene.motion is None:
            drawn = [draw_cover(scene.shape, scene.colour, rng)]
        else:
            times = draw_times(rng)
            drawn = list(draw_frames(scene.shape, scene.colour, scene.motion, rng, times=times))
        if rng.random() < grey:
            drawn, scene = without_colour(drawn, rng), scene._replace(colour="grey")
        frames = [through_jpeg(frame) for frame in drawn]
        yield Example(scene, frames, caption(scene, frames))


def without_colour(frames: Sequence[Image], rng: Generator) -> list[Image]:
    """Converts the frames to black and white with one random colour filter."""
    channels = rng.dirichlet(np.ones(3))
    return [
        np.repeat((frame @ channels)[..., None], 3, axis=2).astype(np.uint8) for frame in frames
    ]


def draw_times(rng: Generator) -> list[float]:
    """The times of the frames that prep stores, each shifted by at most one frame."""
    midpoints = segment_midpoints(FRAMES / FRAMES_PER_SECOND, FRAMES_TAKEN)
    shifts = rng.integers(-1, 2, size=FRAMES_TAKEN)
    return [
        (int(seconds * FRAMES_PER_SECOND) + int(shift)) / FRAMES
        for seconds, shift in zip(midpoints, shifts, strict=True)
    ]


def through_jpeg(image: Image) -> Image:
    """An RGB image after JPEG compression, as a table of prep stores it."""
    data = to_jpeg(cv2.cvtColor(image, cv2.COLOR_RGB2BGR).astype(np.uint8, copy=False))
    decoded = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    return cast(Image, cv2.cvtColor(decoded, cv2.COLOR_BGR2RGB))
