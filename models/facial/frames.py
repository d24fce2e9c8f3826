"""Reads an image, a folder of images or a video frame by frame; memory does not grow with the number of frames.

H × W pixels of a frame.
"""

import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray

from toolkit.errors import UserError
from toolkit.images import decode_jpeg

IMAGES = (".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp")
Pixels = NDArray[np.uint8]


@dataclass(frozen=True)
class Frame:
    """A frame of the input.

    Args:
        pixels: (H, W, 3) RGB, upright; None if the file of the frame cannot be read.
        number: index in the folder or video, from 0.
        source: path of the image or video.
        timestamp: seconds from the first frame of a video; 0 for an image.
        is_alone: whether it is a picture of its own, whose faces are not those of other frames.
    """

    pixels: Pixels | None = field(repr=False)
    number: int
    source: str
    timestamp: float = 0.0
    is_alone: bool = False


def read_frames(path: str | Path, *, every: int = 1, track: bool = False) -> Iterator[Frame]:
    """The frames of an image, of a folder of images in natural order (2.png before 10.png), or of a video.

    An image of a folder that cannot be read is a frame without pixels. A video is opened when its first frame is read; of a
    damaged or incomplete one, the frames that can be decoded are read.

    Args:
        path: the input. A file with a suffix of `IMAGES` is an image; every other file is read as a video.
        every: keep the frames 0, N, 2N, ...; they keep their numbers.
        track: whether the images of a folder are the frames of one video. Otherwise each is a picture of its own.

    Raises:
        UserError: if the path does not exist, holds no frames, or is an image or a video that cannot be read.
    """
    path = Path(path)
    if every < 1:
        raise UserError(f"every is {every}; it must be at least 1")
    if path.is_dir():
        return _of_folder(path, every, is_alone=not track)
    if not path.is_file():
        raise UserError(f"{path}: no such image, folder or video; correct the path")
    if path.suffix.lower() in IMAGES:
        return iter([_of_image(path)])
    return islice(_of_video(path), 0, None, every)


def natural_key(name: str) -> tuple[list[str | int], str]:
    """A sorting key that compares digits as numbers.

    >>> sorted(["10.png", "2.png", "a1.png"], key=natural_key)
    ['2.png', '10.png', 'a1.png']
    """
    parts = re.split(r"([0-9]+)", name)
    return [int(part) if at % 2 else part.lower() for at, part in enumerate(parts)], name


def _of_folder(folder: Path, every: int, *, is_alone: bool) -> Iterator[Frame]:
    names = [path.name for path in folder.iterdir() if path.suffix.lower() in IMAGES]
    names = sorted((name for name in names if not name.startswith(".")), key=natural_key)
    if not names:
        raise UserError(f"{folder}: no images in this folder; expected files {', '.join(IMAGES)}")
    return (_of_listed(folder / names[at], at, is_alone) for at in range(0, len(names), every))


def _of_listed(path: Path, number: int, is_alone: bool) -> Frame:
    try:
        return Frame(decode_jpeg(path.read_bytes()), number, str(path), is_alone=is_alone)
    except (OSError, ValueError) as error:
        _warn(f"{path}: cannot be read ({error}); its row has the status corrupt")
        return Frame(None, number, str(path), is_alone=is_alone)


def _of_image(path: Path) -> Frame:
    try:
        return Frame(decode_jpeg(path.read_bytes()), 0, str(path))
    except (OSError, ValueError) as error:
        raise UserError(
            f"{path}: cannot be read as an image ({error}); convert it to PNG"
        ) from None


def _of_video(path: Path) -> Iterator[Frame]:
    try:
        container = av.open(str(path))
    except av.FFmpegError as error:
        raise UserError(
            f"{path}: neither an image ({', '.join(IMAGES)}) nor a video that FFmpeg reads ({error.strerror}); convert "
            "it to MP4"
        ) from None
    with container:
        pictures = av.stream.Disposition.attached_pic | av.stream.Disposition.timed_thumbnails
        films = [s for s in container.streams.video if not s.disposition & pictures]
        if not films or films[0].codec_context is None:
            raise UserError(f"{path}: has no video stream that can be decoded; convert it to MP4")
        stream = films[0]
        stream.thread_type = "AUTO"
        count, first = 0, None
        for count, frame in enumerate(_decoded(container, stream), start=1):
            seconds = (count - 1) / (stream.average_rate or 1) if frame.time is None else frame.time
            first = seconds if first is None else first
            yield Frame(_upright(frame), count - 1, str(path), float(seconds - first))
        if not count:
            raise UserError(f"{path}: no frame of this video can be decoded; copy it again")
        if count < stream.frames:
            _warn(
                f"{path}: {count:,} of {stream.frames:,} frames can be decoded; the file is incomplete"
            )


def _decoded(container: Any, stream: Any) -> Iterator[Any]:
    """All frames that can be decoded, without those of damaged packets, up to the end of a truncated file."""
    context = stream.codec_context
    try:
        for packet in container.demux(stream):  # the last packet is empty and flushes the decoder
            try:
                yield from context.decode(packet)
            except av.FFmpegError:
                continue
    except av.FFmpegError:
        return


def _upright(frame: Any) -> Pixels:
    quarter_turns = round(frame.rotation / 90)  # counter-clockwise, as in np.rot90
    return np.ascontiguousarray(np.rot90(frame.to_ndarray(format="rgb24"), quarter_turns))


def _warn(text: str) -> None:
    print(f"warning: {text}", file=sys.stderr)
