"""Which frames of a clip to take."""

from bisect import bisect_right

from prep.video.clip import Clip


def segment_midpoints(duration_seconds: float, count: int) -> list[float]:
    """The midpoints of `count` equal parts of a clip, in seconds.

    >>> segment_midpoints(10.0, 5)
    [1.0, 3.0, 5.0, 7.0, 9.0]
    """
    return [(part + 0.5) * duration_seconds / count for part in range(count)]


def uniform(clip: Clip, count: int) -> list[int]:
    """Indexes of the frames on screen at the midpoints of `count` equal parts, ascending.

    The list is shorter where the file ends before its header says: its last frame counts for a
    moment only within two frames' time.
    """
    indexes = []
    for seconds in segment_midpoints(clip.duration_seconds, count):
        ticks = clip.pts[0] + seconds / clip.time_base
        index = max(bisect_right(clip.pts, ticks) - 1, 0)
        is_last = index == len(clip.pts) - 1
        if is_last and (seconds - clip.seconds(index)) * clip.fps > 2:
            break
        indexes.append(index)
    return indexes
