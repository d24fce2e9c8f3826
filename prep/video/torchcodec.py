"""torchcodec: exact by its own account; needs FFmpeg's libraries, and one minor version of torch each."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torchcodec
from torchcodec.decoders import VideoDecoder

from prep.images import Pixels
from prep.video.backend import by_index
from prep.video.info import probe

__all__ = ["frames_at", "probe"]

if torchcodec.ffmpeg_major_version is None:  # it imports without them, and then no clip decodes
    raise ImportError("torchcodec finds no shared libraries of FFmpeg, or none for this torch")


def _decode(path: Path, indexes: Sequence[int]) -> Iterator[Pixels]:
    try:
        # One thread: clips are decoded side by side instead.
        decoder = VideoDecoder(str(path), dimension_order="NHWC", num_ffmpeg_threads=1)
        for index in indexes:
            pixels = decoder.get_frame_at(index).data.numpy()
            yield np.ascontiguousarray(pixels[:, :, ::-1])
    except (RuntimeError, ValueError, IndexError):
        return


frames_at = by_index(_decode)
