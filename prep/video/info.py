"""What a clip's container says of it, from its header and packets; nothing is decoded.

The container alone tells which frames there are and when each is on screen, so every backend is
asked for the same frames, and a file that ends too early is noticed whichever decodes it.
"""

from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from functools import lru_cache
from pathlib import Path
from typing import Any

import av

from prep.images import refuse_too_large
from prep.problems import ItemProblem
from prep.video.rotation import clockwise_degrees
from toolkit.schema import Status


@dataclass(frozen=True)
class VideoInfo:
    """What a clip's container says. Moments are counted from its first frame, in seconds.

    Args:
        codec: FFmpeg's name of it.
        width_px: of the upright picture.
        height_px: of the upright picture.
        rotation_degrees: by which the stored picture is turned clockwise to be upright; 0, 90, 180, 270.
        duration_seconds: of the video stream, by the header; by its frames where the header is silent.
        fps: frames a second, on average, by the header.
        time_base: seconds in one tick.
        pts: ticks at which the frames that the file really holds begin, ascending.
        keyframes: those of them at which decoding can start, ascending.
    """

    codec: str
    width_px: int
    height_px: int
    rotation_degrees: int
    duration_seconds: float
    fps: float
    time_base: Fraction
    pts: list[int] = field(repr=False)
    keyframes: list[int] = field(repr=False)

    def seconds(self, pts: int) -> float:
        """The moment of a tick."""
        return float((pts - self.pts[0]) * self.time_base)

    def index_at(self, seconds: float) -> int | None:
        """The frame on screen at a moment, counted from 0; None where the file has ended before.

        Its last frame counts for a moment only within two frames' time.
        """
        ticks = self.pts[0] + seconds / self.time_base
        # Some grace: a frame's own time, as a float, may round to just before it.
        index = max(bisect_right(self.pts, ticks + 1e-3) - 1, 0)
        is_last = index == len(self.pts) - 1
        if is_last and (seconds - self.seconds(self.pts[index])) * self.fps > 2:
            return None
        return index

    @property
    def is_cut(self) -> bool:
        """Whether the file ends before its header says."""
        return self.index_at(self.duration_seconds) is None


def probe(path: Path) -> VideoInfo:
    """Reads a clip's header and packets.

    Raises:
        ItemProblem: corrupt without a readable header or any frame, unsupported without a video
            stream, too_large.
    """
    found = path.stat()
    return _probe(path, found.st_mtime_ns, found.st_size)


@lru_cache(maxsize=1)  # who asks for frames has just probed: FFmpeg decodes one to open a clip
def _probe(path: Path, modified_ns: int, size_bytes: int) -> VideoInfo:
    try:
        with av.open(str(path)) as container:
            stream = video_stream(container)
            if stream is None:
                status: Status = "unsupported" if len(container.streams) else "corrupt"
                raise ItemProblem(status, f"{path.name} has no video stream")
            width, height = stream.codec_context.width, stream.codec_context.height
            refuse_too_large(path.name, width, height)
            return _read(path, container, stream)
    except (av.FFmpegError, ValueError) as error:
        reason = getattr(error, "strerror", error)  # without the path
        raise ItemProblem("corrupt", f"{path.name} has no readable header ({reason})") from None


def video_stream(container: Any) -> Any | None:
    """The first video stream that is no cover picture of an audio file and has a known codec."""
    picture = av.stream.Disposition.attached_pic
    streams = (s for s in container.streams.video if not s.disposition & picture)
    return next((s for s in streams if s.codec_context is not None), None)


def packets(container: Any, stream: Any) -> Iterator[Any]:
    """The stream's packets that have a time, in decoding order, up to where the file breaks off."""
    try:
        for packet in container.demux(stream):
            if packet.pts is not None and packet.size:
                yield packet
    except av.FFmpegError:
        return


def _read(path: Path, container: Any, stream: Any) -> VideoInfo:
    shown = [(p.pts, p.is_keyframe) for p in packets(container, stream) if not p.is_discard]
    if not shown:
        raise ItemProblem("corrupt", f"{path.name} has a header but no frame")
    pts = sorted(pts for pts, _ in shown)
    duration_seconds = _duration_seconds(container, stream, pts)
    width, height = stream.codec_context.width, stream.codec_context.height
    degrees = clockwise_degrees(path, stream.id)
    return VideoInfo(
        codec=stream.codec_context.codec.canonical_name,
        width_px=height if degrees % 180 else width,
        height_px=width if degrees % 180 else height,
        rotation_degrees=degrees,
        duration_seconds=duration_seconds,
        fps=float(stream.average_rate or (len(pts) / duration_seconds if duration_seconds else 0)),
        time_base=stream.time_base,
        pts=pts,
        keyframes=sorted(pts for pts, is_keyframe in shown if is_keyframe),
    )


def _duration_seconds(container: Any, stream: Any, pts: list[int]) -> float:
    if stream.duration:
        return float(stream.duration * stream.time_base)
    if container.duration:
        return float(container.duration / av.time_base)
    # The last frame lasts as long as the others do on average.
    count = len(pts)
    return float((pts[-1] - pts[0]) * stream.time_base * count / max(count - 1, 1))
