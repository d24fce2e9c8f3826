"""How a phone held its camera: the rotation in an mp4's track header, which no library hands out undecoded."""

import math
import mmap
import struct
from collections.abc import Iterator
from pathlib import Path

# ISO 14496-12, 8.3.2: where a track header has its number and its 3 x 3 matrix, by its version.
_TRACK_AT = {0: 12, 1: 20}
_MATRIX_AT = {0: 40, 1: 52}


def clockwise_degrees(path: Path, track: int) -> int:
    """By how much to turn a track's picture clockwise for it to be upright: 0, 90, 180 or 270.

    0 where there is no such header, as in containers other than mp4.
    """
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        for header in _track_headers(data):
            version = header[0]
            if version not in _MATRIX_AT or len(header) < _MATRIX_AT[version] + 8:
                continue
            if struct.unpack_from(">I", header, _TRACK_AT[version]) == (track,):
                cosine, sine = struct.unpack_from(">2i", header, _MATRIX_AT[version])
                return round(math.degrees(math.atan2(sine, cosine)) / 90) % 4 * 90
    return 0


def _track_headers(data: mmap.mmap) -> Iterator[bytes]:
    for movie in _boxes(data, 0, len(data), b"moov"):
        for track in _boxes(data, *movie, b"trak"):
            for start, end in _boxes(data, *track, b"tkhd"):
                if end > start:
                    yield data[start:end]


def _boxes(data: mmap.mmap, start: int, end: int, wanted: bytes) -> Iterator[tuple[int, int]]:
    """Where the contents of the boxes of one kind begin and end, among those of data[start:end]."""
    while start + 8 <= end:
        size, kind = struct.unpack_from(">I4s", data, start)
        header = 8
        if size == 1 and start + 16 <= end:
            (size,) = struct.unpack_from(">Q", data, start + 8)
            header = 16
        stop = start + size if size else end
        if stop < start + header or stop > end:
            return
        if kind == wanted:
            yield start + header, stop
        start = stop
