"""torchcodec: exact by its own account; needs FFmpeg's libraries, and one minor version of torch each."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import torchcodec
from torchcodec.decoders import VideoDecoder

from prep.pictures.pixels import Pixels
from prep.pictures.video.backend import NotReadableError, forward
from prep.pictures.video.info import VideoInfo, probe
from prep.pictures.video.pyav import keyframes_hold
from prep.pictures.video.rotation import quarter_turn

__all__ = ["frames_at", "probe"]

if torchcodec.ffmpeg_major_version is None:  # it imports without them, and then no clip decodes
    raise ImportError("torchcodec finds no shared libraries of FFmpeg, or none for this torch")


def _decode(path: Path, info: VideoInfo, wanted: Sequence[int]) -> Iterator[tuple[int, Pixels]]:
    # It seeks where only an index makes that exact.
    if info.is_counted or info.turn.tilt_degrees or not info.is_indexed:
        raise NotReadableError
    # It believes what is marked as a keyframe.
    if info.marks_all and not keyframes_hold(path, info, wanted):
        raise NotReadableError
    try:
        # One thread: clips are decoded side by side instead.
        decoder = VideoDecoder(
            str(path), dimension_order="NHWC", num_ffmpeg_threads=1, stream_index=info.stream
        )
    except (RuntimeError, ValueError):
        return
    # It turns pictures by itself as the container says, without mirrors, and not as the codec says.
    turned = quarter_turn(-(decoder.metadata.rotation or 0))
    for pts in wanted:
        seconds = float(pts * info.time_base)
        try:
            # Half a tick later: a frame's own time, as a float, may round to just before it.
            frame = decoder.get_frame_played_at(seconds + 0.5 * float(info.time_base))
        except (RuntimeError, ValueError, IndexError):
            continue  # damage, or beyond what it takes for the end
        if abs(frame.pts_seconds - seconds) < 1e-4:
            yield pts, turned.undone(frame.data.numpy()[:, :, ::-1])


frames_at = forward("torchcodec", _decode)
