"""Draws predictions on frames: boxes, active action units (AUs) and texts. H × W pixels of a frame."""

import os
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from fractions import Fraction
from itertools import groupby
from pathlib import Path
from textwrap import wrap

import av
import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from models.facial.frames import Frame, Pixels
from models.facial.table import Row
from toolkit.atomic import write_atomically
from toolkit.errors import UserError

_STILL_SECONDS = 1.0  # an image has no time: its frame of a video is shown this long
_TIME_BASE = Fraction(1, 90_000)  # seconds per tick of a video's times
_COLOURS = ("#ffd166", "#06d6a0", "#4cc9f0", "#ef476f", "#c77dff", "#f4a261")  # by face_id
_TEXT_COLUMNS = 32  # characters in a line of texts
_LEAST_FONT_PX = 9
_PAD_PX = 3  # around texts
_PROBABILITY = re.compile(r"(AU\d+)_p")
Write = Callable[[Frame, Pixels], None]
Font = ImageFont.ImageFont | ImageFont.FreeTypeFont
Box = tuple[float, float, float, float]  # left, top, right, bottom


def annotate(
    frames: Iterable[Frame], rows: Iterable[Row], output: str | Path, *, font: Path | None = None
) -> int:
    """Writes the frames with their predictions; one frame is in memory at a time.

    Args:
        frames: the frames of the predictions, see `models.facial.frames.read_frames`. Frames that cannot be read are
            left out.
        rows: rows of `models.facial.predictions.predictions`, in the order of the frames.
        output: an .mp4 file, or a folder (a path without a suffix), which gets 000000.png, 000001.png, ... by number
            of the frame. A video has the size of its first frame, to which others are fitted.
        font: a TrueType font for texts in scripts that the font of Pillow lacks.

    Returns:
        The number of frames written.

    Raises:
        UserError: if the output has another suffix.
    """
    output, count = Path(output), 0
    with sink_of(output)(output) as write:
        for frame, found in _with_rows(frames, rows):
            if frame.pixels is not None:
                write(frame, drawn(frame.pixels, found, font=font))
                count += 1
    return count


def sink_of(output: Path) -> Callable[[Path], AbstractContextManager[Write]]:
    """The context that writes frames to a path; call it to check a path before a long run.

    Raises:
        UserError: if the path has another suffix than .mp4.
    """
    sink = _SINKS.get(output.suffix.lower())
    if sink is None:
        raise UserError(
            f"{output}: annotated frames are written to an .mp4 file or to a folder; change the suffix"
        )
    return sink


def drawn(pixels: Pixels, rows: Sequence[Row], *, font: Path | None = None) -> Pixels:
    """A frame with boxes and texts: number, confidence, active AUs with their probabilities, and the text about the face.

    Without a text about the face, each AU has its own text. Texts shrink, to 9 pixels, and end in "…" where a frame is too
    low for them.

    Args:
        pixels: (H, W, 3) RGB.
        rows: the rows of this frame.
        font: a TrueType font.
    """
    image = Image.fromarray(pixels)
    size = max(image.height // 36, 11)
    draw = ImageDraw.Draw(image, "RGBA")
    faces = [row for row in rows if row["success"]]
    taken = [_box(row) for row in faces]
    for row in faces:
        colour = _COLOURS[row["face_id"] % len(_COLOURS)]
        draw.rectangle(_box(row), outline=colour, width=max(size // 6, 1))
    for row in faces:
        text, typeface, extent = _fitting(draw, [*_lines(row)], image.height, size, font)
        left, top, right, bottom = label = _label(_box(row), extent, image.size, taken)
        draw.rectangle((left, top, right, bottom), fill=(0, 0, 0, 150))
        colour = _COLOURS[row["face_id"] % len(_COLOURS)]
        draw.multiline_text((left + _PAD_PX, top), text, fill=colour, font=typeface)
        taken.append(label)
    return np.asarray(image)


def _box(row: Row) -> Box:
    left, top = row["face_x"], row["face_y"]
    return left, top, left + row["face_w"], top + row["face_h"]


def _label(face: Box, extent: tuple[float, float], size: tuple[int, int], taken: list[Box]) -> Box:
    """Where to write the texts of a face: beside, below or above it, wherever they cover least.

    Args:
        face: box of the face: left, top, right, bottom.
        extent: width and height of the texts.
        size: width and height of the picture, within which the label stays.
        taken: boxes of faces and labels that it should not cover.
    """
    left, top, right, bottom = face
    width, height = extent[0] + 2 * _PAD_PX, extent[1] + 2 * _PAD_PX
    beside = [(right + _PAD_PX, top), (left - _PAD_PX - width, top)]
    corners = [*beside, (left, bottom + _PAD_PX), (left, top - _PAD_PX - height)]
    inside = [
        (max(min(x, size[0] - width), 0.0), max(min(y, size[1] - height), 0.0)) for x, y in corners
    ]
    labels = [(x, y, x + width, y + height) for x, y in inside]
    return min(labels, key=lambda label: sum(_shared(label, box) for box in taken))


def _shared(first: Box, second: Box) -> float:
    """The area that two boxes share."""
    width = min(first[2], second[2]) - max(first[0], second[0])
    height = min(first[3], second[3]) - max(first[1], second[1])
    return max(width, 0.0) * max(height, 0.0)


def _lines(row: Row) -> Iterator[str]:
    yield f"face {row['face_id']}, {row['confidence']:.2f}"
    names = [match[1] for match in map(_PROBABILITY.fullmatch, row) if match]
    active = {name: f"{name} {row[f'{name}_p']:.2f}" for name in names if row[f"{name}_c"]}
    if row.get("face_text"):
        yield ", ".join(active.values())
        yield row["face_text"]
    else:
        for name, line in active.items():
            yield f"{line} {row.get(f'{name}_text') or ''}".strip()


def _fitting(
    draw: ImageDraw.ImageDraw, lines: Sequence[str], height_px: int, size: int, font: Path | None
) -> tuple[str, Font, tuple[float, float]]:
    """Wrapped lines, their typeface, and their width and height; at most `height_px` high, and `size` if that fits."""
    parts = [part for line in lines for part in wrap(line, _TEXT_COLUMNS)]
    while True:
        typeface = ImageFont.load_default(size) if font is None else ImageFont.truetype(font, size)
        text = "\n".join(parts)
        extent = draw.multiline_textbbox((0, 0), text, font=typeface)[2:]
        if extent[1] + 2 * _PAD_PX <= height_px or len(parts) < 2:
            return text, typeface, extent
        if size > _LEAST_FONT_PX:
            size -= 1
        else:
            parts = [*parts[:-2], "…"]


def _with_rows(
    frames: Iterable[Frame], rows: Iterable[Row]
) -> Iterator[tuple[Frame, Sequence[Row]]]:
    """Each frame with its rows; both are ordered by frame."""
    groups = groupby(rows, key=lambda row: row["frame"])
    number, found = -1, list[Row]()
    for frame in frames:
        while number < frame.number:
            number, group = next(groups, (frame.number + 1, iter(())))
            found = list(group)
        yield frame, found if number == frame.number else []


@contextmanager
def _folder(folder: Path) -> Iterator[Write]:
    folder.mkdir(parents=True, exist_ok=True)

    def write(frame: Frame, pixels: Pixels) -> None:
        image = Image.fromarray(pixels)
        write_atomically(
            folder / f"{frame.number:06d}.png", lambda file: image.save(file, format="PNG")
        )

    yield write


@contextmanager
def _video(path: Path) -> Iterator[Write]:
    """H.264 with the times of the frames; the file appears when it is complete."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    stream, last = None, -1.0
    try:
        with av.open(str(temporary), "w", format="mp4") as container:

            def write(frame: Frame, pixels: Pixels) -> None:
                nonlocal stream, last
                if stream is None:
                    stream = container.add_stream("libx264", rate=30)
                    height, width = (side + side % 2 for side in pixels.shape[:2])
                    stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
                    stream.time_base = stream.codec_context.time_base = _TIME_BASE
                later = last + _STILL_SECONDS if last >= 0 else 0.0
                last = frame.timestamp if frame.timestamp > last else later
                picture = av.VideoFrame.from_ndarray(
                    _fitted(pixels, stream.width, stream.height), format="rgb24"
                )
                picture.pts, picture.time_base = round(last / _TIME_BASE), _TIME_BASE
                container.mux(stream.encode(picture))

            yield write
            if stream is not None:
                container.mux(stream.encode(None))
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def _fitted(pixels: Pixels, width: int, height: int) -> Pixels:
    """A picture on a black canvas, shrunk or enlarged to fit if it differs by more than the rounding to even sizes."""
    rows, columns = pixels.shape[:2]
    if not (0 <= height - rows <= 1 and 0 <= width - columns <= 1):
        factor = min(height / rows, width / columns)
        size = (max(round(columns * factor), 1), max(round(rows * factor), 1))
        pixels = cv2.resize(pixels, size, interpolation=cv2.INTER_AREA).astype(np.uint8, copy=False)
    canvas = np.zeros((height, width, 3), np.uint8)
    canvas[: pixels.shape[0], : pixels.shape[1]] = pixels
    return canvas


_SINKS: dict[str, Callable[[Path], AbstractContextManager[Write]]] = {"": _folder, ".mp4": _video}
