"""The result of a backend."""

from typing import NamedTuple

from prep.pictures.pixels import Pixels


class Frames(NamedTuple):
    """Decoded frames and their times.

    Args:
        pixels: frames, each (H, W, 3) BGR uint8, upright, with square pixels.
        pts_seconds: start of each frame, counted from the clip's first frame.
        backend: the library that decoded them, a key of `prep.pictures.video.BACKENDS`.
    """

    pixels: list[Pixels]
    pts_seconds: list[float]
    backend: str
