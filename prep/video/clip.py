"""A clip's frames and their times, from its packets; nothing is decoded.

The container alone tells which frames there are and when each is on screen, so every decoder is
asked for the same frames, and a file that ends too early is noticed whichever decodes it.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

import av

from prep.images import refuse_too_large
from prep.problems import ItemProblem
from toolkit.schema import Status


@dataclass(frozen=True)
class Clip:
    """What a clip's container says.

    Args:
        path: of the file.
        duration_seconds: of its video stream, by the header.
        fps: frames a second, on average, by the header.
        time_base: seconds in one tick.
        pts: ticks at which the frames that the file really holds begin, ascending.
        keyframes: those of them at which decoding can start, ascending.
    """

    path: Path
    duration_seconds: float
    fps: float
    time_base: Fraction
    pts: list[int] = field(repr=False)
    keyframes: list[int] = field(repr=False)

    def seconds(self, index: int) -> float:
        """When frame `index` begins, counted from the first frame."""
        return float((self.pts[index] - self.pts[0]) * self.time_base)


def read_clip(path: Path) -> Clip:
    """Reads a clip's header and packets.

    Raises:
        ItemProblem: corrupt without a readable header or any frame, unsupported without a video
            stream, too_large.
    """
    try:
        with av.open(str(path)) as container:
            stream = video_stream(container)
            if stream is None:
                status: Status = "unsupported" if len(container.streams) else "corrupt"
                raise ItemProblem(status, f"{path.name} has no video stream")
            refuse_too_large(path.name, stream.codec_context.width, stream.codec_context.height)
            clip = _read(path, container, stream)
    except (av.FFmpegError, ValueError) as error:
        reason = getattr(error, "strerror", error)  # without the path
        raise ItemProblem("corrupt", f"{path.name} has no readable header ({reason})") from None
    if not clip.pts:
        raise ItemProblem("corrupt", f"{path.name} has a header but no frame")
    return clip


def video_stream(container: Any) -> Any | None:
    """The first video stream that is no cover picture of an audio file."""
    picture = av.stream.Disposition.attached_pic
    return next((s for s in container.streams.video if not s.disposition & picture), None)


def _read(path: Path, container: Any, stream: Any) -> Clip:
    packets = [(packet.pts, packet.is_keyframe) for packet in _packets(container, stream)]
    pts = sorted(pts for pts, _ in packets)
    if stream.duration:
        duration_seconds = float(stream.duration * stream.time_base)
    elif container.duration:
        duration_seconds = container.duration / av.time_base
    else:
        duration_seconds = float((pts[-1] - pts[0]) * stream.time_base) if pts else 0.0
    rate = stream.average_rate or (len(pts) / duration_seconds if duration_seconds else 0)
    return Clip(
        path=path,
        duration_seconds=duration_seconds,
        fps=float(rate),
        time_base=stream.time_base,
        pts=pts,
        keyframes=sorted(pts for pts, is_keyframe in packets if is_keyframe),
    )


def _packets(container: Any, stream: Any) -> Iterator[Any]:
    """The stream's packets that will be shown, up to where the file breaks off."""
    try:
        for packet in container.demux(stream):
            if packet.pts is not None and packet.size and not packet.is_discard:
                yield packet
    except av.FFmpegError:
        return
