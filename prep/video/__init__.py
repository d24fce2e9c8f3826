"""Frames of a clip: where they are (`clip`), which to take (`sampling`), and three ways to decode them.

A decoder is a function `frames_at(clip, indexes)`: the pictures of those frames, ascending, as BGR
arrays of (H, W, 3) uint8; it stops where it can go no further.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import TypeAlias

from prep.images import Pixels
from prep.video import decord, opencv, pyav
from prep.video.clip import Clip, read_clip

__all__ = ["BACKENDS", "Clip", "Decoder", "read_clip"]

Decoder: TypeAlias = Callable[[Clip, Sequence[int]], Iterator[Pixels]]

BACKENDS: dict[str, Decoder] = {
    "pyav": pyav.frames_at,
    "decord": decord.frames_at,
    "opencv": opencv.frames_at,
}
