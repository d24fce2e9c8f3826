"""Backend decord: uses its own, old copy of FFmpeg (Linux on x86-64 only)."""

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import decord

from prep.pictures.pixels import Pixels
from prep.pictures.video.backend import NotReadableError, forward
from prep.pictures.video.info import VideoInfo, codec_turns, probe
from prep.pictures.video.rotation import UPRIGHT, quarter_turn

__all__ = ["frames_at", "probe"]

decord.logging.set_level(decord.logging.QUIET)  # bad clips are reported only in errors/


def _decode(path: Path, info: VideoInfo, wanted: Sequence[int]) -> Iterator[tuple[int, Pixels]]:
    # decord reports no frame times, so frames can be identified only if every library counts them alike.
    if not info.is_plain or not info.is_indexed or _turns_otherwise(path, info):
        raise NotReadableError
    turned = quarter_turn(info.rotation_degrees)
    try:
        # One thread, because clips are decoded in parallel.
        reader = decord.VideoReader(str(path), num_threads=1)
        keyframes = set(reader.get_key_indices())
    except (decord.DECORDError, RuntimeError):
        return
    position = 0
    for number, pts in enumerate(wanted):
        index = bisect_left(info.pts, pts)
        try:
            for passed in range(position, index):
                _pass(reader, stops_at_keyframe=passed + 1 in keyframes)
            frame = reader.next().asnumpy()
        except (decord.DECORDError, RuntimeError, StopIteration):
            # decord's thread decodes ahead by an unknown number of frames, and any call reports its error.
            if number == 0:
                raise NotReadableError from None
            return
        position = index + 1
        yield pts, turned.undone(frame[:, :, ::-1])


def _turns_otherwise(path: Path, info: VideoInfo) -> bool:
    """Whether decord rotates pictures by anything but the quarter turn nearest to the container's matrix.

    decord rotates by exact quarter turns only, also follows a tag that FFmpeg no longer reads, and ignores a
    codec's own message (an SEI).
    """
    a, b, _, c, d = info.matrix[:5]
    if info.is_tagged_as_turned or a * b or c * d:
        return True
    return info.turn != UPRIGHT and codec_turns(path, info)


def _pass(reader: Any, *, stops_at_keyframe: bool) -> None:
    """Skips one frame without seeking.

    When decord reaches a keyframe it seeks to it, even while skipping. It then miscounts frames that follow the
    keyframe in the file but precede it on screen (open groups, usual in HEVC).
    """
    if stops_at_keyframe:
        reader.next()
    else:
        reader.skip_frames(1)


frames_at = forward("decord", _decode)
