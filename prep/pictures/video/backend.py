"""The protocol of decoding backends, and the common part of those that decode a clip from its beginning."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Protocol, TypeAlias

from prep.pictures.pixels import Pixels
from prep.pictures.video import pyav
from prep.pictures.video.frames import Frames
from prep.pictures.video.info import VideoInfo, probe
from prep.pictures.video.upright import upright


class Backend(Protocol):
    """A library that decodes clips. Backends are the modules of `prep.pictures.video` named after a library."""

    def probe(self, path: Path) -> VideoInfo:
        """The metadata of a clip, identical for every backend.

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
        """The frames on screen at the given moments, in order; a frame may be repeated.

        Moments that cannot be reached are left out. A frame that cannot be decoded is replaced by the frame
        before it, up to two frames' time.

        Args:
            path: path of the clip.
            seconds: moments, counted from the first frame.
            size: shorter side of the frames in pixels, never enlarged; None keeps the size.
            tolerance_seconds: maximum distance of a frame from its moment, if this makes decoding faster.
                Otherwise the backend returns the exact frame.

        Raises:
            ItemProblem: as for `probe`.
        """


class NotReadableError(Exception):
    """A backend is not reliable for a clip, because it counts frames or chooses the stream differently."""


# Yields the frames that begin at the given ascending ticks, each with its tick, as far as the library can decode.
# Frames have the stored orientation.
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
    """`Backend.frames_at` for a library that decodes forward, for which a tolerance saves no time.

    PyAV decodes a clip instead if the library is not reliable for it, or reaches only some frames and PyAV reaches
    more, because these libraries stop at the first damaged frame. `Frames.backend` names the library used.

    Args:
        backend: name of the backend.
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
            decoded = {
                pts: upright(pixels, info, size)
                for pts, pixels in decode(path, info, sorted(set(wanted)))
            }
        except NotReadableError:
            return pyav.frames_at(path, seconds, size)
        reached = [pts for pts in wanted if pts in decoded]
        if 0 < len(reached) < len(wanted):
            more = pyav.frames_at(path, seconds, size)
            if len(more.pixels) > len(reached):
                return more
        return Frames(
            [decoded[pts] for pts in reached], [info.seconds(pts) for pts in reached], backend
        )

    return frames_at
