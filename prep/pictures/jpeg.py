"""Finds the end of the picture in a JPEG file, and checks whether the picture is complete.

Bytes outside the picture's own segments do not matter: thumbnails in EXIF have their own end marker, phones append a
video or a second picture, servers append zeros. Segments are therefore walked (ITU T.81, annex B) instead of
searched. If the end marker is missing, or bytes follow it, the decoder decides: if the scan is complete, following
bytes change no pixel.
"""

import io
import re
from typing import NamedTuple

import numpy as np
from PIL import Image

# A marker that is neither a stuffed zero nor a restart marker. The pattern begins with one byte for a fast search.
_MARKER = re.compile(rb"\xff([\x01-\xcf\xd8-\xfe])")
_RESTART = re.compile(rb"\xff([\xd0-\xd7])")
_EOI, _SOI, _SOS, _DRI = 0xD9, 0xD8, 0xDA, 0xDD
_FRAMES = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}
_END = b"\xff\xd9"
_TAILS = (b"\0" * 64, b"\x55\xa9\x3c\x6e" * 16)  # entropy-coded data that decode differently
_COEFFICIENTS = 64
_LEAST_BYTES = 4  # minimum length of a scan, more than its padding bits


class _Segments(NamedTuple):
    """Segments of a JPEG file.

    Args:
        end: offset after the last entropy-coded byte of the picture, at which the end marker is expected.
        has_end: whether the end marker exists.
        components: components of the frame.
        scans: for each scan, its components and the coefficients (first, last, lowest bit) that it codes.
        restarts: whether restart markers divide the scans.
        last_scan: offset of the data of the last scan.
    """

    end: int
    has_end: bool
    components: frozenset[int]
    scans: tuple[tuple[frozenset[int], int, int, int], ...]
    restarts: bool
    last_scan: int


def whole(data: bytes) -> bytes | None:
    """The picture of a JPEG file with its end marker and without trailing bytes; None if a part is missing.

    Args:
        data: content of a file that Pillow opens as JPEG.
    """
    segments = _walk(data)
    if segments is None or not segments.scans:
        return None
    picture = data[: segments.end]
    if segments.has_end and len(data) == segments.end + len(_END):
        return data
    picture = picture.rstrip(b"\xff")  # half an end marker, or fill bytes before it
    is_whole = _all_coefficients(segments) and not _wants_more(picture, segments)
    if is_whole and not segments.has_end:
        # Zeros that pad an unfinished download decode too, so the last bytes must be needed.
        is_whole = len(picture) - segments.last_scan > _LEAST_BYTES
        is_whole = is_whole and _wants_more(picture[:-_LEAST_BYTES], segments)
    return picture + _END if is_whole else None


def _walk(data: bytes) -> _Segments | None:
    """The segments up to the end marker; None if a segment is cut off or a marker is invalid."""
    at, last_scan = 2, 0
    components: frozenset[int] = frozenset()
    scans: list[tuple[frozenset[int], int, int, int]] = []
    restarts = False
    while match := _MARKER.search(data, at):
        marker, at = match[1][0], match.end()
        if marker == _EOI:
            return _Segments(match.start(), True, components, tuple(scans), restarts, last_scan)
        if marker in (_SOI, 0x01) and not scans:
            continue
        length = int.from_bytes(data[at : at + 2], "big")
        if marker in (_SOI, *range(0xC0)) or length < 2 or at + length > len(data):
            return None
        body = data[at + 2 : at + length]
        at += length
        if marker in _FRAMES:
            components = frozenset(body[6::3])
        elif marker == _DRI:
            restarts = any(body)
        elif marker == _SOS and len(body) >= 4:
            scans.append((frozenset(body[1:-3:2]), body[-3], body[-2], body[-1] & 15))
            last_scan = at
    return _Segments(len(data), False, components, tuple(scans), restarts, last_scan)


def _all_coefficients(segments: _Segments) -> bool:
    """Whether the scans code every coefficient of every component down to its lowest bit."""
    done: dict[int, set[int]] = {component: set() for component in segments.components}
    for components, first, last, lowest_bit in segments.scans:
        if lowest_bit == 0:
            for component in components & done.keys():
                done[component].update(range(first, last + 1))
    return bool(done) and all(len(known) == _COEFFICIENTS for known in done.values())


def _wants_more(picture: bytes, segments: _Segments) -> bool:
    """Whether pixels depend on bytes after this data, which means that data is missing."""
    tails = list(_TAILS)
    if segments.restarts:  # the data may end at a restart marker within the scan
        marks = _RESTART.findall(picture, segments.last_scan)
        following = (marks[-1][0] + 1) % 8 if marks else 0
        tails += [bytes((0xFF, 0xD0 + following)) + tail for tail in _TAILS]
    first, *others = (_decoded(picture + tail + _END) for tail in tails)
    return any(not np.array_equal(first, other) for other in others)


def _decoded(data: bytes) -> np.ndarray:
    with Image.open(io.BytesIO(data), formats=["JPEG"]) as image:
        return np.asarray(image)
