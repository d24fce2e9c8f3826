"""PyAV: FFmpeg's own libraries, fed with no more packets than the frames asked for need.

A frame needs what precedes it from its keyframe on, but no frame to which no other refers
("non-reference": up to half of a clip); nor is the end of a group needed after the last frame asked for.
"""

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import av
import numpy as np

from prep.images import Pixels, fitted
from prep.video.backend import Frames
from prep.video.info import VideoInfo, packets, probe, video_stream

__all__ = ["frames_at", "probe"]


class _Still(NamedTuple):
    pts: int
    pixels: Pixels


def frames_at(
    path: Path,
    seconds: Sequence[float],
    size: int | None = None,
    *,
    tolerance_seconds: float = 0.0,
) -> Frames:
    """See `prep.video.backend.Backend`; a tolerance saves the non-reference frames and the loop filter."""
    info = probe(path)
    indexes = [(moment, info.index_at(moment)) for moment in seconds]
    wanted = [(moment, info.pts[index]) for moment, index in indexes if index is not None]
    asked: dict[int, list[float]] = {}  # the moments of each frame
    for moment, pts in wanted:
        asked.setdefault(pts, []).append(moment)
    found: dict[int, _Still] = {}
    if tolerance_seconds > 0:
        found = _near(path, info, asked, size, tolerance_seconds)
    for keyframes in (info.keyframes, []):
        # The second time from the start: a few files have keyframes from which decoding does not start.
        missing = asked.keys() - found.keys()
        if missing:
            found |= _exact(path, keyframes, missing, size)
    stills = [found[pts] for _, pts in wanted if pts in found]
    return Frames([s.pixels for s in stills], [info.seconds(s.pts) for s in stills])


def _exact(
    path: Path, keyframes: list[int], asked: set[int], size: int | None
) -> dict[int, _Still]:
    """The frames asked for, by their ticks."""
    return {
        frame.pts: _Still(frame.pts, _upright(frame, size))
        for frame in _decoded(path, keyframes, asked)
        if frame.pts in asked
    }


def _near(
    path: Path,
    info: VideoInfo,
    asked: dict[int, list[float]],
    size: int | None,
    tolerance_seconds: float,
) -> dict[int, _Still]:
    """The reference frame nearest to the moments of each frame asked for, where it is within the tolerance."""
    nearest: dict[int, tuple[float, Any]] = {}
    for frame in _decoded(path, info.keyframes, set(asked), is_near=True):
        if frame.pts is None:
            continue
        for pts, moments in asked.items():
            distance = max(abs(info.seconds(frame.pts) - moment) for moment in moments)
            if distance <= nearest.get(pts, (tolerance_seconds,))[0]:
                nearest[pts] = distance, frame
    return {pts: _Still(frame.pts, _upright(frame, size)) for pts, (_, frame) in nearest.items()}


def _decoded(
    path: Path, keyframes: list[int], asked: set[int], *, is_near: bool = False
) -> Iterator[Any]:
    """Frames, the asked ones among them, group by group; a group ends early where decoding fails.

    Args:
        path: of the clip.
        keyframes: ticks at which to start, ascending; with none, at the beginning.
        asked: ticks of frames.
        is_near: whether to leave out all non-reference frames and the loop filter.
    """
    waiting = _by_keyframe(keyframes, asked)
    pending: set[int] = waiting.pop(None, set())
    with av.open(str(path)) as container:
        stream: Any = video_stream(container)
        context = stream.codec_context
        context.thread_count = 1  # clips are decoded side by side instead
        if is_near:
            context.options = {"skip_loop_filter": "nokey"}
        skips = is_near or _skips_exactly(context)
        for packet in packets(container, stream):
            pending |= waiting.pop(packet.pts, set())
            if not pending:
                continue
            is_asked = packet.pts in pending
            pending.discard(packet.pts)
            context.skip_frame = "NONREF" if skips and (is_near or not is_asked) else "DEFAULT"
            try:
                yield from context.decode(packet)
                if not pending:
                    yield from context.decode(None)
            except av.FFmpegError:
                pending.clear()
            if not pending:
                context.flush_buffers()


def _by_keyframe(keyframes: list[int], asked: set[int]) -> dict[int | None, set[int]]:
    """Which frames need decoding from which keyframe on; None is the file's beginning."""
    groups: dict[int | None, set[int]] = {}
    for pts in asked:
        row = bisect_right(keyframes, pts)
        groups.setdefault(keyframes[row - 1] if row else None, set()).add(pts)
    return groups


def _skips_exactly(context: Any) -> bool:
    """Whether leaving out frames that the decoder takes for non-reference ones changes no other.

    In HEVC such a frame may be referred to by a higher temporal layer, which hardly any file has; the
    number of layers is in its header (ISO 14496-15, 8.3.3.1). Other decoders look at it only once.
    """
    if context.name == "hevc":
        header = context.extradata or b""
        return len(header) > 21 and header[21] >> 3 & 7 == 1
    return bool(context.name == "h264")


def _upright(frame: Any, size: int | None) -> Pixels:
    """A frame as (H, W, 3) BGR, made smaller and turned as its header says."""
    width, height = fitted(frame.width, frame.height, size)
    small = frame.reformat(width, height, "bgr24", interpolation="AREA").to_ndarray()
    quarters = round(frame.rotation / 90)  # counterclockwise
    return np.ascontiguousarray(np.rot90(small, quarters), dtype=np.uint8)
