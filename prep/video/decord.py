"""decord: a reader by frame index, with its own copy of FFmpeg (Linux on x86-64 only)."""

from collections.abc import Iterator, Sequence

import numpy as np

from prep.images import Pixels
from prep.video.clip import Clip
from toolkit.errors import UserError


def frames_at(clip: Clip, indexes: Sequence[int]) -> Iterator[Pixels]:
    """See `prep.video`.

    Raises:
        UserError: where decord is not installed.
    """
    try:
        import decord
    except ImportError:
        raise UserError(
            "media.backend is decord, which is not installed (there is none for this platform?); "
            "use pyav or opencv"
        ) from None
    try:
        # One thread: clips are decoded side by side instead.
        reader = decord.VideoReader(str(clip.path), num_threads=1)
        for index in indexes:
            yield np.ascontiguousarray(reader[index].asnumpy()[:, :, ::-1])
    except (decord.DECORDError, IndexError):
        return
