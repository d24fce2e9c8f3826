"""PyAV: FFmpeg's own libraries; starts at the nearest keyframe and decodes no more than it must."""

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from typing import Any

import av
import numpy as np

from prep.images import Pixels
from prep.video.clip import Clip, video_stream


def frames_at(clip: Clip, indexes: Sequence[int]) -> Iterator[Pixels]:
    """See `prep.video`."""
    with av.open(str(clip.path)) as container:
        stream: Any = video_stream(container)
        stream.codec_context.thread_count = 1  # clips are decoded side by side instead
        frames = _decoded(container, stream)
        frame = next(frames, None)
        for pts in (clip.pts[index] for index in indexes):
            keyframe = clip.keyframes[max(bisect_right(clip.keyframes, pts) - 1, 0)]
            if frame is not None and frame.pts < keyframe:
                container.seek(keyframe, stream=stream)
                frames = _decoded(container, stream)
                frame = next(frames, None)
            while frame is not None and frame.pts < pts:
                frame = next(frames, None)
            if frame is None:
                return
            yield frame.to_ndarray(format="bgr24").astype(np.uint8, copy=False)


def _decoded(container: Any, stream: Any) -> Iterator[Any]:
    """Frames in the order of their times, up to where decoding fails."""
    try:
        for frame in container.decode(stream):
            if frame.pts is not None:
                yield frame
    except av.FFmpegError:
        return
