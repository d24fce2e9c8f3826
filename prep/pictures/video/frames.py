"""What a backend gives."""

from typing import NamedTuple

from prep.pictures.pixels import Pixels


class Frames(NamedTuple):
    """Decoded frames and when they are on screen.

    Args:
        pixels: each (H, W, 3) BGR uint8, upright, with square pixels.
        pts_seconds: the moment at which each begins, counted from the clip's first frame.
        backend: the library that decoded them, a key of `prep.pictures.video.BACKENDS`.
    """

    pixels: list[Pixels]
    pts_seconds: list[float]
    backend: str
