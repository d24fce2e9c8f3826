"""decord: with its own, old copy of FFmpeg (Linux on x86-64 only)."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import decord
import numpy as np

from prep.images import Pixels
from prep.video.backend import by_index
from prep.video.info import probe

__all__ = ["frames_at", "probe"]

decord.logging.set_level(decord.logging.QUIET)  # bad clips are told of in errors/ alone


def _decode(path: Path, indexes: Sequence[int]) -> Iterator[Pixels]:
    try:
        # One thread: clips are decoded side by side instead.
        reader = decord.VideoReader(str(path), num_threads=1)
        keyframes = set(reader.get_key_indices())
        position = 0
        for index in indexes:
            for passed in range(position, index):
                _pass(reader, stops_at_keyframe=passed + 1 in keyframes)
            position = index + 1
            yield np.ascontiguousarray(reader.next().asnumpy()[:, :, ::-1])
    except (decord.DECORDError, RuntimeError, StopIteration):
        return


def _pass(reader: Any, *, stops_at_keyframe: bool) -> None:
    """Leaves one frame out, without seeking.

    When decord lands on a keyframe it seeks to it, also while it skips; the frames that come after such
    a keyframe in the file and before it on screen (open groups, usual in HEVC) are then miscounted.
    """
    if stops_at_keyframe:
        reader.next()
    else:
        reader.skip_frames(1)


frames_at = by_index(_decode)
