"""A collection of defective media: a small generated dump with every kind of broken cover and clip.

`python tests/museum.py FOLDER` writes `FOLDER/covers` and `FOLDER/videos`. `EXHIBITS` lists the expected status of the item of
each exhibit.
"""

import argparse
import io
import os
import struct
import zlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import Literal

import av
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from toolkit.schema import Status

FPS = 12
SHAPE = (96, 128)  # height, width in pixels
SUFFIX = {"covers": ".jpg", "videos": ".mp4"}
# Options of FFmpeg's mp4 writer: where it puts the index (`moov`).
INDEX_FIRST: dict[str, str] = {"movflags": "faststart"}
INDEX_LAST: dict[str, str] = {}
INDEX_IN_PIECES: dict[str, str] = {"movflags": "frag_keyframe+empty_moov"}
Build = Callable[[Path], None]


@dataclass(frozen=True)
class Exhibit:
    """One bad file.

    Args:
        item_id: which names it.
        folder: where it lies.
        status: what its item ends as.
        build: writes the file.
    """

    item_id: str
    folder: Literal["covers", "videos"]
    status: Status
    build: Build


def build_museum(dump: Path) -> None:
    """Writes every exhibit into a folder that does not exist yet."""
    os.environ.setdefault("SVT_LOG", "1")  # its AV1 encoder says nothing but errors
    for exhibit in EXHIBITS:
        path = dump / exhibit.folder / f"{exhibit.item_id}{SUFFIX[exhibit.folder]}"
        path.parent.mkdir(parents=True, exist_ok=True)
        exhibit.build(path)


# --- pictures ---


def noise(count: int = 48, shape: tuple[int, int] = SHAPE) -> list[NDArray[np.uint8]]:
    """Noisy frames, each beyond what a codec can foresee, so that every one has its bytes in the file."""
    rng = np.random.default_rng(0)
    return [rng.integers(0, 255, (*shape, 3), dtype=np.uint8) for _ in range(count)]


def red_above_blue(shape: tuple[int, int] = SHAPE) -> NDArray[np.uint8]:
    """A frame that shows which way is up: red above, blue below."""
    frame = np.zeros((*shape, 3), dtype=np.uint8)
    frame[: shape[0] // 2], frame[shape[0] // 2 :] = (200, 20, 20), (20, 20, 200)
    return frame


# --- whole clips ---


def write_clip(
    path: Path,
    frames: Iterable[NDArray[np.uint8]],
    *,
    codec: str = "libx264",
    ticks: Iterable[int] | None = None,
    muxer: str = "mp4",
    flags: dict[str, str] = INDEX_FIRST,
    options: dict[str, str] | None = None,
) -> None:
    """Writes RGB frames as a clip.

    Args:
        path: of the file.
        frames: (H, W, 3) uint8, all of one size.
        codec: of FFmpeg's encoders.
        ticks: when each frame begins, in twelfths of a second; by default 0, 1, 2, ...
        muxer: FFmpeg's name of the container.
        flags: options of the muxer.
        options: of the encoder.
    """
    frames = list(frames)
    flags = {**flags, "fflags": "+bitexact"}
    with av.open(str(path), "w", format=muxer, options=flags) as container:
        stream = container.add_stream(codec, rate=FPS)
        stream.height, stream.width = frames[0].shape[:2]
        stream.pix_fmt = "yuv420p"
        stream.time_base = stream.codec_context.time_base = Fraction(1, FPS)
        stream.options = options or {}
        stream.codec_context.thread_count = 1
        for pts, pixels in zip(ticks or range(len(frames)), frames, strict=False):
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
            frame.pts = pts
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


QUICK = {"preset": "ultrafast"}
whole = partial(write_clip, frames=noise(), options=QUICK)


def two_keyframes_and_b_frames(path: Path, codec: str, options: dict[str, str]) -> None:
    """2 s with a keyframe a second."""
    write_clip(path, noise(24), codec=codec, options=options)


def variable_rate(path: Path) -> None:
    """Quick at first, then slow: the gaps grow from 1 to 12 twelfths of a second."""
    write_clip(path, noise(12), ticks=np.cumsum(range(12)).tolist(), options=QUICK)


def turned(path: Path) -> None:
    """Lies on its side in the file; its header says to turn it by 90 degrees clockwise."""
    pixels = np.rot90(red_above_blue())  # counterclockwise
    write_clip(path, [np.ascontiguousarray(pixels)] * 12, options=QUICK)
    data = bytearray(path.read_bytes())
    # ISO 14496-12, 8.3.2: a version 0 track header has its 3 x 3 matrix 40 bytes after its version.
    at = data.index(b"tkhd") + 4 + 40
    data[at : at + 36] = struct.pack(
        ">9i", 0, 1 << 16, 0, -1 << 16, 0, 0, SHAPE[0] << 16, 0, 1 << 30
    )
    path.write_bytes(data)


# --- spoilt clips ---


def cut(path: Path, percent: int, flags: dict[str, str]) -> None:
    """The first so many percent of a clip."""
    whole(path, flags=flags)
    data = path.read_bytes()
    path.write_bytes(data[: len(data) * percent // 100])


def promises_more(path: Path) -> None:
    """The tables of the container name twice the frames, and the durations, that there are."""
    whole(path)
    data = bytearray(path.read_bytes().replace(b"edts", b"free"))  # the edit list knows better
    for box, at in {b"mvhd": 20, b"tkhd": 24, b"mdhd": 20, b"stts": 12}.items():
        start = data.index(box) + at  # of the duration, or of the count of frames that share one
        (value,) = struct.unpack_from(">I", data, start)
        struct.pack_into(">I", data, start, 2 * value)
    path.write_bytes(data)


def hollow(path: Path) -> None:
    """The last half of the packets decode to nothing, without an error: they hold filler data alone."""
    whole(path)
    data = bytearray(path.read_bytes())
    with av.open(str(path)) as container:
        packets = [(p.pos, p.size) for p in container.demux(video=0) if p.size]
    for start, size in packets[len(packets) // 2 :]:
        # H.264, 7.4.1: a unit of type 12, behind its length (ISO 14496-15).
        unit = b"\x0c" + b"\xff" * (size - 6) + b"\x80"
        data[start : start + size] = struct.pack(">I", len(unit)) + unit
    path.write_bytes(data)


def zeroed(path: Path) -> None:
    """All the frames are listed, and the last half of their bytes are zero: a download filled up."""
    whole(path)
    data = path.read_bytes()
    half = (data.index(b"mdat") + len(data)) // 2
    path.write_bytes(data[:half] + bytes(len(data) - half))


def sound_only(path: Path) -> None:
    """An mp4 with sound and no picture."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=8000, layout="mono")
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), "fltp", "mono")
        frame.rate = 8000
        container.mux([*stream.encode(frame), *stream.encode(None)])


# --- things under a wrong name, or in a wrong place ---


def empty(path: Path) -> None:
    """No bytes at all."""
    path.touch()


def picture(path: Path, *, kind: str, pixels: NDArray[np.uint8] | None = None) -> None:
    """An image file, whatever its name."""
    Image.fromarray(red_above_blue() if pixels is None else pixels).save(path, format=kind)


def page(path: Path) -> None:
    """What a server sends instead of a file."""
    path.write_text("<!DOCTYPE html><title>Not found</title>\n")


def plain_text(path: Path) -> None:
    """Words."""
    path.write_text("This clip is not available in your country.\n")


def link_out(path: Path, *, build: Build) -> None:
    """A symbolic link to a sound file beside the dump."""
    outside = path.parents[2] / f"outside{path.suffix}"
    build(outside)
    path.symlink_to(outside)


def turned_picture(path: Path) -> None:
    """A JPEG that lies on its side; its EXIF says to turn it by 90 degrees clockwise."""
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(np.rot90(red_above_blue())).save(path, exif=exif)


def cut_picture(path: Path) -> None:
    """The first half of a JPEG."""
    buffer = io.BytesIO()
    Image.fromarray(noise(1)[0]).save(buffer, format="JPEG")
    path.write_bytes(buffer.getvalue()[: buffer.tell() // 2])


def bomb(path: Path) -> None:
    """A few bytes of PNG that say that they are 30,000 x 30,000 pixels."""
    header = b"IHDR" + struct.pack(">IIBBBBB", 30_000, 30_000, 8, 2, 0, 0, 0)
    chunks = (
        struct.pack(">I", len(c) - 4) + c + struct.pack(">I", zlib.crc32(c))
        for c in (header, b"IDAT")
    )
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(chunks))


def _cuts() -> Iterable[Exhibit]:
    for percent in (10, 50, 90):
        build = partial(cut, percent=percent, flags=INDEX_FIRST)
        yield Exhibit(f"cut_at_{percent}_index_first", "videos", "truncated", build)
        build = partial(cut, percent=percent, flags=INDEX_LAST)
        yield Exhibit(f"cut_at_{percent}_index_last", "videos", "corrupt", build)


EXHIBITS = (
    Exhibit("whole", "videos", "ok", whole),
    Exhibit("zero_bytes", "videos", "empty", empty),
    *_cuts(),
    Exhibit("promises_more", "videos", "truncated", promises_more),
    Exhibit("hollow", "videos", "truncated", hollow),
    Exhibit("zeroed", "videos", "truncated", zeroed),
    Exhibit("variable_rate", "videos", "ok", variable_rate),
    Exhibit("turned", "videos", "ok", turned),
    Exhibit("sound_only", "videos", "unsupported", sound_only),
    Exhibit("index_in_pieces", "videos", "ok", partial(whole, flags=INDEX_IN_PIECES)),
    Exhibit("no_duration", "videos", "ok", partial(whole, muxer="matroska", flags={"live": "1"})),
    Exhibit(
        "hevc",
        "videos",
        "ok",
        partial(
            write_clip,
            frames=noise(),
            codec="libx265",
            options={"preset": "ultrafast", "x265-params": "log-level=error:keyint=12:pools=none"},
        ),
    ),
    Exhibit(
        "av1",
        "videos",
        "ok",
        partial(write_clip, frames=noise(12), codec="libsvtav1", options={"preset": "12"}),
    ),
    Exhibit(
        "odd_size", "videos", "ok", partial(write_clip, frames=noise(12, (95, 127)), codec="mpeg4")
    ),
    Exhibit("one_frame", "videos", "ok", partial(write_clip, frames=noise(1), options=QUICK)),
    Exhibit(
        "eight_k",
        "videos",
        "ok",
        partial(write_clip, frames=[red_above_blue((4320, 7680))], options=QUICK),
    ),
    Exhibit("jpeg", "videos", "unsupported", partial(picture, kind="JPEG")),
    Exhibit("page", "videos", "unsupported", page),
    Exhibit("plain_text", "videos", "corrupt", plain_text),
    Exhibit("link_out", "videos", "unsafe", partial(link_out, build=whole)),
    Exhibit("../secret", "videos", "unsafe", whole),
    Exhibit("whole", "covers", "ok", partial(picture, kind="JPEG")),
    Exhibit("png", "covers", "ok", partial(picture, kind="PNG")),
    Exhibit("webp", "covers", "ok", partial(picture, kind="WebP")),
    Exhibit("turned", "covers", "ok", turned_picture),
    Exhibit("zero_bytes", "covers", "empty", empty),
    Exhibit("cut", "covers", "corrupt", cut_picture),
    Exhibit("plain_text", "covers", "corrupt", plain_text),
    Exhibit("page", "covers", "unsupported", page),
    Exhibit("clip", "covers", "unsupported", whole),
    Exhibit("bomb", "covers", "too_large", bomb),
    Exhibit("link_out", "covers", "unsafe", partial(link_out, build=partial(picture, kind="JPEG"))),
    Exhibit("../secret", "covers", "unsafe", partial(picture, kind="JPEG")),
)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    build_museum(parser.parse_args().folder)
