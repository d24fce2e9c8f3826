"""Where the picture in a JPEG file ends, and whether all of it is there.

What lies outside of the picture's own segments says nothing about the picture: thumbnails inside of EXIF have
an end of their own, phones append a film or a second picture, servers append zeros. So segments are walked
(ITU T.81, annex B), never searched for. Where the end mark is absent, or bytes follow it, the decoder judges: if
the scan is whole, what comes behind it changes no pixel.
"""

import io
import re
from typing import NamedTuple

import numpy as np
from PIL import Image

# No stuffed zero, no restart mark. One byte first, so that the search is for a byte and fast.
_MARKER = re.compile(rb"\xff([\x01-\xcf\xd8-\xfe])")
_RESTART = re.compile(rb"\xff([\xd0-\xd7])")
_EOI, _SOI, _SOS, _DRI = 0xD9, 0xD8, 0xDA, 0xDD
_FRAMES = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}
_END = b"\xff\xd9"
_TAILS = (b"\0" * 64, b"\x55\xa9\x3c\x6e" * 16)  # entropy-coded data that decode differently
_COEFFICIENTS = 64
_LEAST_BYTES = 4  # of a scan; more than the few bits that pad it


class _Segments(NamedTuple):
    """What a walk over a JPEG's segments finds.

    Args:
        end: offset behind the last entropy-coded byte of the picture; where its end mark is, or would be.
        has_end: whether the end mark is there.
        components: of the frame.
        scans: of each, its components and the coefficients (first, last, lowest bit) that it codes.
        restarts: whether restart marks divide the scans.
        last_scan: offset of the last scan's data.
    """

    end: int
    has_end: bool
    components: frozenset[int]
    scans: tuple[tuple[frozenset[int], int, int, int], ...]
    restarts: bool
    last_scan: int


def whole(data: bytes) -> bytes | None:
    """The picture of a JPEG file, with its end mark and without what follows; None if part of it is missing.

    Args:
        data: that Pillow opens as a JPEG.
    """
    found = _walk(data)
    if found is None or not found.scans:
        return None
    picture = data[: found.end]
    if found.has_end and len(data) == found.end + len(_END):
        return data
    picture = picture.rstrip(b"\xff")  # half an end mark, or what fills up before one
    is_whole = _all_coefficients(found) and not _wants_more(picture, found)
    if is_whole and not found.has_end:
        # Zeros that fill up a download decode as well: all that is there must be needed.
        is_whole = len(picture) - found.last_scan > _LEAST_BYTES
        is_whole = is_whole and _wants_more(picture[:-_LEAST_BYTES], found)
    return picture + _END if is_whole else None


def _walk(data: bytes) -> _Segments | None:
    """The segments up to the end mark; None where a segment is cut or no marker can be what is there."""
    at, last_scan = 2, 0
    components: frozenset[int] = frozenset()
    scans: list[tuple[frozenset[int], int, int, int]] = []
    restarts = False
    while found := _MARKER.search(data, at):
        marker, at = found[1][0], found.end()
        if marker == _EOI:
            return _Segments(found.start(), True, components, tuple(scans), restarts, last_scan)
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


def _all_coefficients(found: _Segments) -> bool:
    """Whether the scans code every coefficient of every component down to its last bit."""
    done: dict[int, set[int]] = {component: set() for component in found.components}
    for components, first, last, lowest_bit in found.scans:
        if lowest_bit == 0:
            for component in components & done.keys():
                done[component].update(range(first, last + 1))
    return bool(done) and all(len(known) == _COEFFICIENTS for known in done.values())


def _wants_more(picture: bytes, found: _Segments) -> bool:
    """Whether pixels depend on what comes behind this data: then some is missing."""
    tails = list(_TAILS)
    if found.restarts:  # the data may end where a restart mark divides the scan
        marks = _RESTART.findall(picture, found.last_scan)
        following = (marks[-1][0] + 1) % 8 if marks else 0
        tails += [bytes((0xFF, 0xD0 + following)) + tail for tail in _TAILS]
    first, *others = (_decoded(picture + tail + _END) for tail in tails)
    return any(not np.array_equal(first, other) for other in others)


def _decoded(data: bytes) -> np.ndarray:
    with Image.open(io.BytesIO(data), formats=["JPEG"]) as image:
        return np.asarray(image)
