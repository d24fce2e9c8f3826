"""What a video network of a library declares of itself.

B clips, T frames, S tokens, D width.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor, nn

from toolkit.backbones.listening import as_tokens

FRAMES = 5  # MicroLens (arXiv 2309.15379) reads clips of five frames at 224 px
CROP_PX = 224


def _same(pixels: Tensor) -> Tensor:
    return pixels


@dataclass(frozen=True)
class VideoNetwork:
    """A video network.

    Args:
        build: the library's module with random weights under their published names, for T frames of a height and width
            in px.
        layers: by layer, the paths of its modules, the last of which returns the layer's state. What comes before the
            first module makes the embedding output.
        head: modules that are replaced, by path: the classification head, whose parameters a file of weights may lack,
            and pools of a fixed size.
        pixels: the transform of frames (T, 3, height, width) uint8 to normalised pixels (3, T, crop_px, crop_px).
        published: the name of the public file of weights, for messages.
        read: a state (B, S, D) from what a module reads or returns.
        feed: what the module reads, from pixels (B, 3, T, height, width).
        positions: names of position tables (1, N, D) that depend on the clip, and how each is resized to another N.
        frames: T by default.
        crop_px: height and width by default.
        least_frames: the smallest T.
        least_px: the smallest height and width.
        step_px: height and width are multiples of it.
        fixed: whether it reads clips of the default size only.
        has_cls: whether the first token represents the whole clip.
    """

    build: Callable[[int, int], nn.Module]
    layers: tuple[tuple[str, ...], ...]
    head: Mapping[str, Callable[[], nn.Module]]
    pixels: Callable[[int], Any]
    published: str
    read: Callable[[Any], Tensor] = as_tokens
    feed: Callable[[Tensor], Any] = _same
    positions: Mapping[str, Callable[[Tensor, int], Tensor]] = field(default_factory=dict)
    frames: int = FRAMES
    crop_px: int = CROP_PX
    least_frames: int = 1
    least_px: int = 32
    step_px: int = 1
    fixed: bool = False
    has_cls: bool = False

    def is_head(self, name: str) -> bool:
        """Whether a parameter or buffer belongs to the head."""
        return any(name.startswith(f"{path}.") for path in self.head)
