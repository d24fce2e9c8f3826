"""OpenCV: decodes from the start, frame by frame; its own seeking is not exact in every file."""

from collections.abc import Iterator, Sequence

import cv2
import numpy as np

from prep.images import Pixels
from prep.video.clip import Clip


def frames_at(clip: Clip, indexes: Sequence[int]) -> Iterator[Pixels]:
    """See `prep.video`."""
    # One thread: clips are decoded side by side instead.
    capture = cv2.VideoCapture(str(clip.path), cv2.CAP_FFMPEG, [cv2.CAP_PROP_N_THREADS, 1])
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
