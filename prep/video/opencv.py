"""OpenCV: decodes from the start, frame by frame; its own seeking is not exact in every file."""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import cv2
import numpy as np

from prep.images import Pixels
from prep.video.backend import by_index
from prep.video.info import probe

__all__ = ["frames_at", "probe"]

os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")  # bad clips are told of in errors/ alone


def _decode(path: Path, indexes: Sequence[int]) -> Iterator[Pixels]:
    # One thread: clips are decoded side by side instead.
    capture = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG, [cv2.CAP_PROP_N_THREADS, 1])
    try:
        position = -1
        for index in indexes:
            while position < index:
                if not capture.grab():
                    return
                position += 1
            found, pixels = capture.retrieve()
            if not found:
                return
            yield np.asarray(pixels, dtype=np.uint8)
    finally:
        capture.release()


frames_at = by_index(_decode)
