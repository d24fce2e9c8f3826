"""Sampling policies: pure functions that choose moments of a clip from the metadata of its container."""

import math
from collections.abc import Callable
from typing import NamedTuple

from prep.pictures.video.info import VideoInfo

NEAR_SECONDS = 0.1


class Moments(NamedTuple):
    """A request to a backend.

    Args:
        seconds: moments of the frames, counted from the first frame, ascending.
        tolerance_seconds: maximum distance of a frame from its moment, if this makes decoding faster.
    """

    seconds: list[float]
    tolerance_seconds: float = 0.0


def segment_midpoints(duration_seconds: float, count: int) -> list[float]:
    """The midpoints of `count` equal parts of a clip, in seconds.

    >>> segment_midpoints(10.0, 5)
    [1.0, 3.0, 5.0, 7.0, 9.0]
    """
    return [(part + 0.5) * duration_seconds / count for part in range(count)]


def uniform(info: VideoInfo, count: int, interval: int) -> Moments:
    """The midpoints of `count` equal parts of the clip, exactly."""
    return Moments(segment_midpoints(info.duration_seconds, count))


def near(info: VideoInfo, count: int, interval: int) -> Moments:
    """As `uniform`, within a tenth of a second."""
    return Moments(segment_midpoints(info.duration_seconds, count), NEAR_SECONDS)


def keyframes(info: VideoInfo, count: int, interval: int) -> Moments:
    """The keyframe nearest to each of the uniform moments.

    If a clip has too few keyframes, some are repeated, so that every clip has the same number of frames.
    """
    starts = [info.seconds(pts) for pts in info.keyframes] or [0.0]
    return Moments(
        [
            # A moment beyond the end of a truncated file must stay unreachable.
            moment
            if moment > info.near_end_seconds
            else min(starts, key=lambda start: abs(start - moment))
            for moment in segment_midpoints(info.duration_seconds, count)
        ]
    )


def middle(info: VideoInfo, count: int, interval: int) -> Moments:
    """Every `interval`-th frame around the middle of the clip, as in the MicroLens paper.

    If the clip is too short, its first and last frames are repeated.
    """
    frames = len(info.pts)
    if info.is_cut:  # use the middle of the complete clip
        frames = round(info.duration_seconds * info.fps)
    first = (frames - 1 - (count - 1) * interval) // 2
    indexes = [min(max(first + row * interval, 0), frames - 1) for row in range(count)]
    return Moments([_seconds_of(info, index) for index in indexes])


def _seconds_of(info: VideoInfo, index: int) -> float:
    """The start time of a frame; infinite if the file is cut off before it."""
    return info.seconds(info.pts[index]) if index < len(info.pts) else math.inf


Policy = Callable[[VideoInfo, int, int], Moments]

POLICIES: dict[str, Policy] = {
    "middle": middle,
    "uniform": uniform,
    "near": near,
    "keyframes": keyframes,
}
