"""Backend torchcodec: documented as exact; each version needs one minor version of torch, and FFmpeg's libraries."""

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

if torchcodec.ffmpeg_major_version is None:  # it imports without FFmpeg, but then cannot decode
    raise ImportError("torchcodec finds no shared libraries of FFmpeg, or none for this torch")


def _decode(path: Path, info: VideoInfo, wanted: Sequence[int]) -> Iterator[tuple[int, Pixels]]:
    # torchcodec seeks, which is exact only with an index.
    if info.is_counted or info.turn.tilt_degrees or not info.is_indexed:
        raise NotReadableError
    # torchcodec relies on the keyframe marks.
    if info.marks_all and not keyframes_hold(path, info, wanted):
        raise NotReadableError
    try:
        # One thread, because clips are decoded in parallel.
        decoder = VideoDecoder(
            str(path), dimension_order="NHWC", num_ffmpeg_threads=1, stream_index=info.stream
        )
    except (RuntimeError, ValueError):
        return
    # torchcodec rotates pictures according to the container, without mirrors, and ignores the codec's metadata.
    turned = quarter_turn(-(decoder.metadata.rotation or 0))
    for pts in wanted:
        seconds = float(pts * info.time_base)
        try:
            # Half a tick later, because a frame's start as a float may round to just before the frame.
            frame = decoder.get_frame_played_at(seconds + 0.5 * float(info.time_base))
        except (RuntimeError, ValueError, IndexError):
            continue  # a damaged frame, or beyond the end that torchcodec assumes
        if abs(frame.pts_seconds - seconds) < 1e-4:
            yield pts, turned.undone(frame.data.numpy()[:, :, ::-1])


frames_at = forward("torchcodec", _decode)
