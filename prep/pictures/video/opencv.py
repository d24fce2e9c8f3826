"""Backend opencv: decodes from the start, frame by frame, because OpenCV's seeking is not always exact."""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from prep.pictures.pixels import Pixels
from prep.pictures.video.backend import NotReadableError, forward
from prep.pictures.video.info import VideoInfo, probe

__all__ = ["frames_at", "probe"]

os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")  # bad clips are reported only in errors/


def _decode(path: Path, info: VideoInfo, wanted: Sequence[int]) -> Iterator[tuple[int, Pixels]]:
    # OpenCV identifies frames by their times, and chooses the stream itself.
    if info.is_counted or info.video_streams > 1:
        raise NotReadableError
    # One thread, because clips are decoded in parallel.
    capture = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG, [cv2.CAP_PROP_N_THREADS, 1])
    capture.set(cv2.CAP_PROP_ORIENTATION_AUTO, 0)  # OpenCV does not support mirrored pictures
    try:
        known = set(info.pts)
        rows = iter(wanted)
        row = next(rows, None)
        while row is not None and capture.grab():
            pts = _pts(capture, info)
            if pts not in known:
                raise NotReadableError
            while row is not None and row < pts:  # the wanted frame could not be decoded
                row = next(rows, None)
            if row == pts:
                is_decoded, pixels = capture.retrieve()
                if not is_decoded:
                    return
                yield row, np.asarray(pixels, dtype=np.uint8)
                row = next(rows, None)
    finally:
        capture.release()


def _pts(capture: Any, info: VideoInfo) -> int:
    """Start of the current frame in ticks; OpenCV counts from the start time in the header."""
    seconds = capture.get(cv2.CAP_PROP_POS_MSEC) / 1000
    return info.start_pts + round(seconds / float(info.time_base))


frames_at = forward("opencv", _decode)
