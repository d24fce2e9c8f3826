"""Clips with unusual container metadata, and what FFmpeg's command displays of them where it is installed."""

import io
import shutil
import struct
import subprocess
from collections.abc import Iterable, Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from museum import FPS
from numpy.typing import NDArray
from PIL import Image

Picture = NDArray[np.uint8]
SHAPE = (96, 192)  # height, width in pixels
B_FRAMES = {"preset": "veryfast", "bf": "3", "g": "16"}


def marked(shape: tuple[int, int] = SHAPE) -> Picture:
    """RGB: red above blue, a yellow field at the upper left: tells how it is turned and mirrored."""
    height, width = shape
    rgb = np.zeros((height, width, 3), np.uint8)
    rgb[: height // 2], rgb[height // 2 :] = (200, 30, 30), (30, 60, 200)
    rgb[: height // 3, : width // 3] = (250, 220, 20)
    return rgb


def barred(index: int) -> Picture:
    """RGB: a bar tells the index of the frame, up to 83."""
    rgb = np.full((*SHAPE, 3), 40, np.uint8)
    rgb[:, 2 * index : 2 * index + 24] = 220
    return rgb


def index_of(pixels: Picture) -> int:
    """Which `barred` frame it is."""
    return round(int(np.argmax(pixels[:, :, 0].mean(axis=0) > 130)) / 2)


def write(
    path: Path,
    pictures: Iterable[Picture],
    *,
    codec: str = "libx264",
    muxer: str = "mp4",
    options: dict[str, str] | None = None,
    sar: Fraction | None = None,
    last_seconds: float = 0.0,
    sound_seconds: float = 0.0,
    filters: str | None = None,
) -> Path:
    """Writes a clip of `FPS` pictures a second.

    Args:
        path: of the file.
        pictures: RGB, of one size.
        codec: of FFmpeg's encoders.
        muxer: FFmpeg's name of the container.
        options: of the encoder.
        sar: shape of a pixel, width by height.
        last_seconds: how long the last picture stays, if not as the others do.
        sound_seconds: length of a silent sound track; 0 leaves it out.
        filters: a bit stream filter.
    """
    pictures = list(pictures)
    with av.open(str(path), "w", format=muxer) as out:
        video = out.add_stream(codec, rate=FPS)
        video.height, video.width = pictures[0].shape[:2]
        video.pix_fmt = "yuv420p"
        video.options = options or {"preset": "ultrafast"} if codec == "libx264" else options or {}
        video.codec_context.thread_count = 1
        if sar:
            video.codec_context.sample_aspect_ratio = sar
        sound = out.add_stream("libopus", rate=48_000, layout="mono") if sound_seconds else None
        packets = []
        for picture in pictures:
            packets += video.encode(av.VideoFrame.from_ndarray(picture, format="rgb24"))
        packets += video.encode(None)
        if last_seconds:
            packets[-1].duration = round(last_seconds / packets[-1].time_base)
        if filters:
            out.start_encoding()  # the filter asks for what is known from then on
            context = av.BitStreamFilterContext(filters, video)
            packets = [p for packet in [*packets, None] for p in context.filter(packet)]
        out.mux(packets)
        for start in range(0, round(sound_seconds * 48_000), 960):
            frame = av.AudioFrame.from_ndarray(np.zeros((1, 960), np.float32), "fltp", "mono")
            frame.sample_rate, frame.pts = 48_000, start
            out.mux(sound.encode(frame))
        if sound:
            out.mux(sound.encode(None))
    return path


def set_matrix(path: Path, numbers: Sequence[float]) -> None:
    """Writes a, b, c, d into the display matrix of an mp4's first track header (ISO 14496-12, 8.3.2)."""
    data = bytearray(path.read_bytes())
    at = data.index(b"tkhd") + 4 + 40
    for place, number in zip((0, 1, 3, 4), numbers, strict=True):
        struct.pack_into(">i", data, at + 4 * place, round(number * 65536))
    path.write_bytes(data)


def damage(path: Path, first: int, stop: int) -> None:
    """Overwrites some packets of the film, by their order in the file, with noise."""
    data = bytearray(path.read_bytes())
    with av.open(str(path)) as container:
        places = [(p.pos, p.size) for p in container.demux(video=0) if p.size]
    for start, size in places[first:stop]:
        data[start : start + size] = np.random.default_rng(0).bytes(size)
    path.write_bytes(data)


def copied(source: Path, target: Path, muxer: str, *, first: int = 0) -> Path:
    """The packets of a film from one on, undecoded, in another container; a raw one keeps no times."""
    with av.open(str(source)) as container, av.open(str(target), "w", format=muxer) as out:
        stream = container.streams.video[0]
        copy = out.add_stream_from_template(stream)
        for row, packet in enumerate(p for p in container.demux(stream) if p.size):
            if row >= first:
                packet.stream = copy
                out.mux(packet)
    return target


def shown_by_ffmpeg(path: Path, filters: str | None = None) -> list[Picture]:
    """What FFmpeg's own command shows, as RGB; the test is skipped where there is none."""
    if not shutil.which("ffmpeg"):
        pytest.skip("no ffmpeg command to compare with")
    command = ["ffmpeg", "-v", "quiet", "-i", str(path), *(["-vf", filters] if filters else [])]
    command += ["-fps_mode", "passthrough", "-f", "image2pipe", "-c:v", "ppm", "-"]
    data = subprocess.run(command, capture_output=True, check=True).stdout
    pictures: list[Picture] = []
    at = 0
    while at < len(data):
        with Image.open(io.BytesIO(data[at:])) as image:
            pictures.append(np.asarray(image))
            at += len(b"P6\n%d %d\n255\n" % image.size) + pictures[-1].nbytes
    return pictures
