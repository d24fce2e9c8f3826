"""Metadata of a clip: its main video stream, the frames of the stream, and when and how they are shown.

The metadata come from the container's header, the packets and the first frame. All frames are decoded only if the
container's times cannot be right. All backends use this metadata, so they return the same frames and detect
truncated files alike.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from functools import lru_cache
from itertools import chain, islice, pairwise
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import av
import numpy as np
from av.sidedata.sidedata import Type

from prep.pictures.pixels import refuse_too_large
from prep.pictures.video.rotation import IDENTITY, Turn, clockwise_degrees, turn_of
from prep.pictures.video.stream import (
    breaks_off,
    claimed_seconds,
    decoded,
    every_frame,
    film_stream,
    lacks_data,
    packets,
    tagged_seconds,
)
from prep.steps.problems import ItemProblem
from toolkit.schema import Status

_LOOK_AHEAD = 32  # packets that usually contain the first frame
_WIDEST = 10  # a larger pixel aspect ratio is a mistake


@dataclass(frozen=True)
class VideoInfo:
    """Metadata of a clip. Moments are counted from its first frame, in seconds.

    Args:
        codec: FFmpeg's name of the codec.
        width_px: width of the upright picture, with square pixels.
        height_px: height of the upright picture, with square pixels.
        rotation_degrees: clockwise rotation that makes the stored picture upright, rounded to 0, 90, 180 or 270;
            `turn` also covers mirrors.
        duration_seconds: duration of the video, regardless of the sound and the container's header; for a truncated
            file, the duration in the header.
        fps: average frames per second, by the header.
        time_base: seconds per tick.
        pts: start ticks of the frames that the file contains, ascending.
        keyframes: start ticks of the frames at which decoding can start, ascending.
        held_seconds: end of the last frame of `pts`; None if unknown.
        matrix: display matrix of the stored picture, 9 numbers in row order.
        stream: index of the main video stream among the file's streams.
        container: FFmpeg's name of the container format.
        is_counted: whether the packets' times are wrong or absent, and `pts` counts the frames in the order of
            the decoder.
        start_pts: start tick of the stream, by the header.
        video_streams: number of video streams in the file.
        is_tagged_as_turned: whether the file has the old tag `rotate`, which FFmpeg no longer reads.
        marks_all: whether every packet is marked as a keyframe, in a codec in which this is unlikely.
        breaks_off: whether the file ends within a fragment, so that an unknown rest is missing.
        is_plain: whether every library counts the frames in the same way: one video stream, valid times, and no
            hidden packets.
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
    held_seconds: float | None = None
    matrix: tuple[int, ...] = IDENTITY
    stream: int = 0
    container: str = ""
    is_counted: bool = False
    start_pts: int = 0
    video_streams: int = 1
    is_tagged_as_turned: bool = False
    marks_all: bool = False
    breaks_off: bool = False
    is_plain: bool = True

    @property
    def turn(self) -> Turn:
        """The rotation that makes the stored picture upright."""
        return turn_of(self.matrix)

    def seconds(self, pts: int) -> float:
        """The moment of a tick, in seconds."""
        return float((pts - self.pts[0]) * self.time_base)

    @property
    def grace_seconds(self) -> float:
        """Two frames' time, the limit for replacing an undecodable frame by an earlier frame."""
        return 2 / self.fps if self.fps else 0.0

    @property
    def near_end_seconds(self) -> float:
        """The latest moment with a frame on screen at most two frames' time earlier."""
        return max(self.held_seconds or 0.0, self.seconds(self.pts[-1]) + self.grace_seconds)

    def index_at(self, seconds: float) -> int | None:
        """The index of the frame on screen at a moment; None if the file ends before this moment.

        The last frame counts as long as it stays on screen, or for two frames' time if this is unknown.
        """
        ends = self.near_end_seconds if self.held_seconds is None else self.held_seconds
        if seconds > ends + 1e-3:
            return None
        ticks = self.pts[0] + seconds / self.time_base
        # A small tolerance, because a frame's start as a float may round to just before the frame.
        return max(bisect_right(self.pts, ticks + 1e-3) - 1, 0)

    @property
    def is_indexed(self) -> bool:
        """Whether the container has an exact index of its frames, so that libraries can seek."""
        return any(name in self.container for name in ("mp4", "matroska"))

    @property
    def is_cut(self) -> bool:
        """Whether the file ends before the duration in its header, or within a fragment."""
        return self.breaks_off or self.index_at(self.duration_seconds) is None


def probe(path: Path) -> VideoInfo:
    """Reads a clip's header, packets and first frame.

    Raises:
        ItemProblem: corrupt without a readable header or any frame, unsupported without a video
            stream, too_large.
    """
    status = path.stat()
    return _probe(path, status.st_mtime_ns, status.st_size)


@lru_cache(maxsize=1)  # `frames_at` follows `probe`, and FFmpeg decodes a frame to open a clip
def _probe(path: Path, modified_ns: int, size_bytes: int) -> VideoInfo:
    try:
        with av.open(str(path)) as container:
            stream = film_stream(container)
            if stream is None:
                status: Status = "unsupported" if len(container.streams) else "corrupt"
                raise ItemProblem(status, f"{path.name} has no video stream")
            width, height = stream.codec_context.width, stream.codec_context.height
            refuse_too_large(path.name, width, height)
            return _read(path, container, stream)
    except (av.FFmpegError, ValueError) as error:
        reason = getattr(error, "strerror", error)  # does not contain the path
        raise ItemProblem("corrupt", f"{path.name} has no readable header ({reason})") from None


class _Packet(NamedTuple):
    pts: int | None
    dts: int | None
    duration: int
    is_keyframe: bool
    is_shown: bool


def _read(path: Path, container: Any, stream: Any) -> VideoInfo:
    context = stream.codec_context
    context.thread_count = 1  # clips are decoded in parallel
    packed, first = _packets_and_first_frame(container, stream)
    if not any(packet.is_shown for packet in packed):
        raise ItemProblem("corrupt", f"{path.name} has a header but no frame")
    is_counted = False
    if _times_may_be_wrong(packed, stream, container):
        times = _decoded_times(path, stream)
        is_counted = not _ascend(times)
    pts = _counted(times, packed, stream) if is_counted else _shown(packed, first)
    fps = _fps(pts, stream, None if is_counted else stream.average_rate)
    held_seconds = _end_seconds(stream, packed, pts, is_counted=is_counted)
    duration_seconds = max(held_seconds, tagged_seconds(stream) or 0.0)
    claim = claimed_seconds(container, stream)
    missing_seconds = claim - held_seconds - (2 / fps if fps else 0.0)
    if missing_seconds > 0 and lacks_data(path, container, stream, len(packed), missing_seconds):
        duration_seconds = claim
    else:
        held_seconds = duration_seconds
    matrix = _matrix(first)
    width, height = _shape(stream, turn_of(matrix))
    return VideoInfo(
        codec=context.codec.canonical_name,
        width_px=width,
        height_px=height,
        rotation_degrees=round(clockwise_degrees(matrix) / 90) % 4 * 90,
        duration_seconds=duration_seconds,
        fps=fps,
        time_base=stream.time_base,
        pts=pts,
        keyframes=sorted(set(pts) & {p.pts for p in packed if p.is_keyframe}),
        held_seconds=held_seconds,
        matrix=matrix,
        stream=stream.index,
        container=container.format.name,
        is_counted=is_counted,
        start_pts=stream.start_time or 0,
        video_streams=len(container.streams.video),
        is_tagged_as_turned="rotate" in map(str.lower, stream.metadata),
        marks_all=len(packed) > 1
        and all(packet.is_keyframe for packet in packed)
        and not context.codec.intra_only,
        breaks_off=breaks_off(path, container, stream),
        is_plain=not is_counted and len(container.streams.video) == 1 and len(pts) == len(packed),
    )


def _packets_and_first_frame(container: Any, stream: Any) -> tuple[list[_Packet], Any | None]:
    """All packets of a stream, and the first decodable frame, if there is one."""
    source = packets(container, stream)
    head = list(islice(source, _LOOK_AHEAD))
    packed: list[_Packet] = []
    context = stream.codec_context
    first = _first_keyframe(context, head)
    for packet in chain(head, source):
        shown = not packet.is_discard
        duration = packet.duration or 0
        packed.append(_Packet(packet.pts, packet.dts, duration, packet.is_keyframe, shown))
        first = first or next(iter(decoded(context, packet)), None)
    return packed, first or next(iter(decoded(context, None)), None)


def _first_keyframe(context: Any, head: Sequence[Any]) -> Any | None:
    """The frame of the first packet, if it is the first on screen, so that no other packet needs decoding."""
    begin = head[0].pts if head else None
    if begin is None or any(packet.pts is None or packet.pts < begin for packet in head):
        return None
    frames = [*decoded(context, head[0]), *decoded(context, None)]
    context.flush_buffers()
    return frames[0] if frames else None


def _shown(packed: Sequence[_Packet], first: Any | None) -> list[int]:
    """Start ticks of the frames that are shown, ascending.

    If editing has removed the group to which leading frames refer, they precede the first keyframe on screen. No
    player shows them, so the clip begins with this keyframe.
    """
    pts = sorted({p.pts for p in packed if p.is_shown and p.pts is not None})
    keyframe = next((p.pts for p in packed if p.is_keyframe), None)
    if first is not None and keyframe is not None and first.pts == keyframe:
        pts = pts[bisect_left(pts, keyframe) :]
    return pts


def _times_may_be_wrong(packed: Sequence[_Packet], stream: Any, container: Any) -> bool:
    """Whether packets lack times, or have the times of their order in the file although the codec reorders frames.

    AVI has no other times, and FFmpeg's MP4 writer uses them if a raw stream lacks times.
    """
    if any(packet.pts is None for packet in packed):
        return True
    delays = {
        packet.pts - packet.dts
        for packet in packed
        if packet.pts is not None and packet.dts is not None
    }
    is_suspect = delays == {0} or container.format.name == "avi"
    return is_suspect and len(packed) > 1 and bool(stream.codec_context.has_b_frames)


def _ascend(times: Sequence[int | None]) -> bool:
    known = [time for time in times if time is not None]
    return len(known) == len(times) > 0 and all(a < b for a, b in pairwise(known))


def _decoded_times(path: Path, stream: Any) -> list[int | None]:
    """Ticks of all decodable frames, in the decoder's order."""
    with av.open(str(path)) as container:
        again = container.streams[stream.index]
        again.codec_context.thread_count = 1
        return [frame.pts for frame in every_frame(container, again)]


def _counted(times: Sequence[int | None], packed: Sequence[_Packet], stream: Any) -> list[int]:
    """Ticks that count the frames in the decoder's order, with the median distance between frames as the step."""
    known = sorted({time for time in times if time is not None})
    steps = [after - before for before, after in pairwise(known)]
    steps = steps if len(known) == len(times) else [packet.duration for packet in packed]
    step = float(median(steps)) if steps else 0.0
    if not step:
        step = 1 / (stream.average_rate or 25) / stream.time_base
    return [round(row * step) for row in range(len(times) or len(packed))]


def _end_seconds(
    stream: Any, packed: Sequence[_Packet], pts: list[int], *, is_counted: bool
) -> float:
    """The end of the last frame, by its packet; without a duration, the average duration of the other frames."""
    ends = [p.pts + p.duration for p in packed if p.pts is not None and p.is_shown and p.duration]
    last = pts[-1]
    end = max(ends, default=last)
    if end <= last or is_counted:
        end = last + round((last - pts[0]) / max(len(pts) - 1, 1))
    return float((end - pts[0]) * stream.time_base)


def _fps(pts: list[int], stream: Any, average_rate: Fraction | None) -> float:
    if average_rate:
        return float(average_rate)
    seconds = float((pts[-1] - pts[0]) * stream.time_base)
    return (len(pts) - 1) / seconds if seconds else 0.0


def _matrix(first: Any | None) -> tuple[int, ...]:
    """A frame's display matrix, from the container or from the codec (in an SEI)."""
    data = first.side_data.get(Type.DISPLAYMATRIX) if first is not None else None
    numbers = np.frombuffer(bytes(data), np.int32).tolist() if data is not None else []
    return tuple(numbers) if len(numbers) == 9 else IDENTITY


def _shape(stream: Any, turn: Turn) -> tuple[int, int]:
    """Width and height of the upright picture with square pixels, as FFmpeg's scale=iw*sar:ih computes them."""
    width, height = stream.codec_context.width, stream.codec_context.height
    aspect = stream.sample_aspect_ratio or Fraction(1)
    if not Fraction(1, _WIDEST) <= aspect <= _WIDEST:
        aspect = Fraction(1)
    if turn.transposes:
        width, height, aspect = height, width, 1 / aspect
    return max(int(width * aspect), 1), height


def codec_turns(path: Path, info: VideoInfo) -> bool:
    """Whether the codec's own messages rotate the picture, instead of or in addition to the container.

    H.264 and HEVC have such a message (the SEI display orientation).
    """
    with av.open(str(path)) as container:
        stream = container.streams[info.stream]
        alone = av.CodecContext.create(stream.codec_context.codec.name, "r")
        alone.extradata = stream.codec_context.extradata
        frames = chain.from_iterable(decoded(alone, p) for p in packets(container, stream))
        first = next(frames, None)
        return first is not None and Type.DISPLAYMATRIX in first.side_data
