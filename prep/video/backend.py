"""What every backend does, and what those that know frames by their index share."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple, Protocol, TypeAlias

from prep.images import Pixels, shrink
from prep.video.info import VideoInfo, probe


class Frames(NamedTuple):
    """Decoded frames and when they are on screen.

    Args:
        pixels: each (H, W, 3) BGR uint8, upright.
        pts_seconds: the moment at which each begins, counted from the clip's first frame.
    """

    pixels: list[Pixels]
    pts_seconds: list[float]


class Backend(Protocol):
    """A library that decodes clips; the modules of `prep.video` that are named after one are backends."""

    def probe(self, path: Path) -> VideoInfo:
        """What the container says; the same from every backend.

        Raises:
            ItemProblem: corrupt, unsupported or too_large.
        """

    def frames_at(
        self,
        path: Path,
        seconds: Sequence[float],
        size: int | None = None,
        *,
        tolerance_seconds: float = 0.0,
    ) -> Frames:
        """The frames on screen at some moments, in their order; a frame may come several times.

        Moments that cannot be reached are left out.

        Args:
            path: of the clip.
            seconds: moments, counted from the first frame.
            size: shorter side in pixels of what is given, never larger than stored; None keeps the size.
            tolerance_seconds: by how much a frame may be off its moment where that is cheaper. A
                backend for which it is not gives the exact frame.

        Raises:
            ItemProblem: as `probe` does.
        """


Decode: TypeAlias = Callable[[Path, Sequence[int]], Iterator[Pixels]]


class FramesAt(Protocol):
    """`Backend.frames_at` as a function."""

    def __call__(
        self,
        path: Path,
        seconds: Sequence[float],
        size: int | None = None,
        *,
        tolerance_seconds: float = 0.0,
    ) -> Frames:
        """See `Backend.frames_at`."""


def by_index(decode: Decode) -> FramesAt:
    """`Backend.frames_at` of a library that knows frames by their index; a tolerance saves it nothing.

    Args:
        decode: gives the frames of ascending indexes, as far as it can.
    """

    def frames_at(
        path: Path,
        seconds: Sequence[float],
        size: int | None = None,
        *,
        tolerance_seconds: float = 0.0,
    ) -> Frames:
        info = probe(path)
        found = [info.index_at(moment) for moment in seconds]
        indexes = sorted({index for index in found if index is not None})
        pixels = {
            index: shrink(frame, size)
            for index, frame in zip(indexes, decode(path, indexes), strict=False)
        }
        reached = [index for index in found if index in pixels]
        return Frames(
            [pixels[index] for index in reached],
            [info.seconds(info.pts[index]) for index in reached],
        )

    return frames_at
