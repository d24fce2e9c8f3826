"""What every backend does, and what those share that decode a clip from its beginning."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Protocol, TypeAlias

from prep.pictures.pixels import Pixels
from prep.pictures.video import pyav
from prep.pictures.video.frames import Frames
from prep.pictures.video.info import VideoInfo, probe
from prep.pictures.video.upright import upright


class Backend(Protocol):
    """A library that decodes clips; the modules of `prep.pictures.video` that are named after one are backends."""

    def probe(self, path: Path) -> VideoInfo:
        """What the clip is; the same from every backend.

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

        Moments that cannot be reached are left out. A frame that does not decode is stood for by the one
        before it, within two frames' time.

        Args:
            path: of the clip.
            seconds: moments, counted from the first frame.
            size: shorter side in pixels of what is given, never larger than shown; None keeps the size.
            tolerance_seconds: by how much a frame may be off its moment where that is cheaper. A
                backend for which it is not gives the exact frame.

        Raises:
            ItemProblem: as `probe` does.
        """


class NotReadableError(Exception):
    """A backend cannot be trusted with a clip: it would count frames, or choose the stream, in its own way."""


# Gives the frames that begin at ascending ticks, each with its tick, as far as the library reaches. They lie as stored.
Decode: TypeAlias = Callable[[Path, VideoInfo, Sequence[int]], Iterator[tuple[int, Pixels]]]


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


def forward(backend: str, decode: Decode) -> FramesAt:
    """`Backend.frames_at` of a library that decodes forward; a tolerance saves it nothing.

    A clip that the library cannot be trusted with, or of which it reaches some of the frames asked for and
    PyAV more, is PyAV's: these libraries stop at the first damage. `Frames.backend` tells it.

    Args:
        backend: its name.
        decode: see `Decode`; raises `NotReadableError`.
    """

    def frames_at(
        path: Path,
        seconds: Sequence[float],
        size: int | None = None,
        *,
        tolerance_seconds: float = 0.0,
    ) -> Frames:
        info = probe(path)
        indexes = [info.index_at(moment) for moment in seconds]
        wanted = [info.pts[index] for index in indexes if index is not None]
        try:
            found = {
                pts: upright(pixels, info, size)
                for pts, pixels in decode(path, info, sorted(set(wanted)))
            }
        except NotReadableError:
            return pyav.frames_at(path, seconds, size)
        reached = [pts for pts in wanted if pts in found]
        if 0 < len(reached) < len(wanted):
            more = pyav.frames_at(path, seconds, size)
            if len(more.pixels) > len(reached):
                return more
        return Frames(
            [found[pts] for pts in reached], [info.seconds(pts) for pts in reached], backend
        )

    return frames_at
