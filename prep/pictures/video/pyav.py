"""Backend pyav: FFmpeg's own libraries, which receive only the packets that the wanted frames need.

A frame needs the preceding frames from its keyframe on, but no "non-reference" frames, to which no other frame
refers (up to half of a clip). The rest of a group after the last wanted frame is not needed either.
"""

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

import av
import numpy as np
from av.video.frame import PictureType

from prep.pictures.pixels import Pixels
from prep.pictures.video.frames import Frames
from prep.pictures.video.info import VideoInfo, probe
from prep.pictures.video.stream import every_frame, packets
from prep.pictures.video.upright import stored_size, upright

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
    """See `prep.pictures.video.backend.Backend`. With a tolerance, non-reference frames and the loop filter are skipped."""
    info = probe(path)
    indexes = [(moment, info.index_at(moment)) for moment in seconds]
    wanted = [(moment, info.pts[index]) for moment, index in indexes if index is not None]
    asked: dict[int, list[float]] = {}  # the moments of each frame
    for moment, pts in wanted:
        asked.setdefault(pts, []).append(moment)
    by_pts: dict[int, _Still] = {}
    if tolerance_seconds > 0 and not info.is_counted:
        by_pts = _near(path, info, asked, size, tolerance_seconds)
    if not info.is_counted:
        by_pts |= _exact(path, info, asked.keys() - by_pts.keys(), size)
    # Finally decode from the start: a few files have keyframes at which decoding cannot start.
    missing = asked.keys() - by_pts.keys()
    if missing:
        by_pts |= _on_screen(path, info, missing, size)
    stills = [by_pts[pts] for _, pts in wanted if pts in by_pts]
    return Frames([s.pixels for s in stills], [info.seconds(s.pts) for s in stills], "pyav")


def _exact(path: Path, info: VideoInfo, asked: set[int], size: int | None) -> dict[int, _Still]:
    """The wanted frames by their ticks, each decoded from its keyframe."""
    return {
        frame.pts: _Still(frame.pts, _upright(frame, info, size))
        for frame in _decoded(path, info, asked)
        if frame.pts in asked
    }


def _on_screen(path: Path, info: VideoInfo, asked: set[int], size: int | None) -> dict[int, _Still]:
    """The wanted frames by their ticks, from decoding the whole clip.

    A frame that cannot be decoded, because it is damaged or never shown, is replaced by the frame before it, up to
    two frames' time, unless the rest of the clip cannot be decoded either.
    """
    by_pts: dict[int, _Still] = {}
    waiting = sorted(asked, reverse=True)
    before: tuple[int, Any] | None = None
    for pts, frame in chain(_counted(path, info), [(None, None)]):
        while waiting and (pts is None or pts > waiting[-1]):
            wanted = waiting.pop()
            if before and _stands_for(before[0], wanted, info, is_last=pts is None):
                by_pts[wanted] = _Still(before[0], _upright(before[1], info, size))
        if not waiting:
            break
        if pts is not None:
            before = (pts, frame)
    return by_pts


def _stands_for(pts: int, wanted: int, info: VideoInfo, *, is_last: bool) -> bool:
    """Whether a frame may be used for a tick; is_last if no later frame can be decoded."""
    until = info.pts[-1] if is_last else wanted
    return pts == wanted or info.seconds(until) - info.seconds(pts) <= info.grace_seconds


def _counted(path: Path, info: VideoInfo) -> Iterator[tuple[int | None, Any]]:
    """Every decodable frame with the tick at which it begins."""
    with av.open(str(path)) as container:
        stream = container.streams[info.stream]
        stream.codec_context.thread_count = 1  # clips are decoded in parallel
        frames = every_frame(container, stream)
        if info.is_counted:
            yield from zip(info.pts, frames, strict=False)
        else:
            yield from ((frame.pts, frame) for frame in frames if frame.pts is not None)


def keyframes_hold(path: Path, info: VideoInfo, asked: Sequence[int]) -> bool:
    """Whether every frame can be decoded from its marked keyframe."""
    return set(asked) <= {frame.pts for frame in _decoded(path, info, set(asked))}


def _near(
    path: Path,
    info: VideoInfo,
    asked: dict[int, list[float]],
    size: int | None,
    tolerance_seconds: float,
) -> dict[int, _Still]:
    """The reference frame nearest to the moments of each wanted frame, if it is within the tolerance."""
    nearest: dict[int, tuple[float, Any]] = {}
    for frame in _decoded(path, info, set(asked), is_near=True):
        if frame.pts is None:
            continue
        for pts, moments in asked.items():
            distance = max(abs(info.seconds(frame.pts) - moment) for moment in moments)
            if distance <= nearest.get(pts, (tolerance_seconds,))[0]:
                nearest[pts] = distance, frame
    return {
        pts: _Still(frame.pts, _upright(frame, info, size)) for pts, (_, frame) in nearest.items()
    }


def _decoded(
    path: Path, info: VideoInfo, asked: set[int], *, is_near: bool = False
) -> Iterator[Any]:
    """Yields frames, including the wanted ones, group by group; a group ends early if decoding fails.

    A group is skipped if its first frame is not a keyframe although its packet is marked as one.

    Args:
        path: path of the clip.
        info: metadata of the clip.
        asked: ticks of the wanted frames.
        is_near: whether to skip all non-reference frames and the loop filter.
    """
    waiting = _by_keyframe(info.keyframes, asked)
    pending: set[int] = waiting.pop(None, set())
    starts = True
    with av.open(str(path)) as container:
        stream: Any = container.streams[info.stream]
        context = stream.codec_context
        context.thread_count = 1  # clips are decoded in parallel
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
                frames = context.decode(packet) + ([] if pending else context.decode(None))
            except av.FFmpegError:
                frames = []
                pending.clear()
            if starts and frames and not _is_intra(frames[0]):
                frames = []
                pending.clear()
            yield from frames
            starts = starts and not frames
            if not pending:
                context.flush_buffers()
                starts = True


def _is_intra(frame: Any) -> bool:
    return bool(frame.key_frame) or frame.pict_type in (
        PictureType.I,
        PictureType.SI,
        PictureType.BI,
    )


def _by_keyframe(keyframes: list[int], asked: set[int]) -> dict[int | None, set[int]]:
    """Wanted frames by the keyframe from which to decode them; None is the beginning of the file."""
    groups: dict[int | None, set[int]] = {}
    for pts in asked:
        row = bisect_right(keyframes, pts)
        groups.setdefault(keyframes[row - 1] if row else None, set()).add(pts)
    return groups


def _skips_exactly(context: Any) -> bool:
    """Whether skipping frames that the decoder considers non-reference leaves all other frames unchanged.

    In HEVC, a higher temporal layer may refer to such a frame. Few files have such layers; the header contains their
    number (ISO 14496-15, 8.3.3.1). Decoders of codecs other than H.264 and HEVC read the setting only once.
    """
    if context.name == "hevc":
        header = context.extradata or b""
        return len(header) > 21 and header[21] >> 3 & 7 == 1
    return bool(context.name == "h264")


def _upright(frame: Any, info: VideoInfo, size: int | None) -> Pixels:
    """A frame as (H, W, 3) BGR, scaled down, with square pixels, and rotated according to its header."""
    if info.turn.tilt_degrees:
        return upright(frame.to_ndarray(format="bgr24"), info, size)
    width, height = stored_size(info, size)
    small = frame.reformat(width, height, "bgr24", interpolation="AREA").to_ndarray()
    return np.ascontiguousarray(info.turn.applied(small), dtype=np.uint8)
