"""Checks whether a Matroska or WebM file is complete; FFmpeg reads a truncated file without an error."""

import os
from typing import BinaryIO

_HEADER, _SEGMENT = 0x1A45DFA3, 0x18538067
# Elements of a segment (RFC 9559, 5.1): seek head, info, tracks, cluster, cues, tags, chapters, files; void, checksum.
_PARTS = {
    0x114D9B74, 0x1549A966, 0x1654AE6B, 0x1F43B675, 0x1C53BB6B, 0x1254C367, 0x1043A770, 0x1941A469,
    0xEC, 0xBF,
}  # fmt: skip


def is_whole(file: BinaryIO) -> bool:
    """Whether a file's segment has its declared length and consists of known elements.

    A live recording, which declares no length, counts as complete.

    Args:
        file: open, seekable file.
    """
    end = file.seek(0, os.SEEK_END)
    file.seek(0)
    for wanted in (_HEADER, _SEGMENT):
        element, size = _number(file, keeps_length=True), _number(file)
        if element != wanted:
            return False
        if wanted == _HEADER:
            file.seek(size or 0, os.SEEK_CUR)
    if size is None:
        return True
    stop = file.tell() + size
    while file.tell() < min(stop, end):
        element, size = _number(file, keeps_length=True), _number(file)
        if element not in _PARTS:
            return False
        if size is None:
            return True
        file.seek(size, os.SEEK_CUR)
    return file.tell() <= end and stop <= end


def _number(file: BinaryIO, *, keeps_length: bool = False) -> int | None:
    """Reads a number of variable length (RFC 8794, 4); None for an unknown size, 0 beyond the end.

    Args:
        file: file, positioned at the number.
        keeps_length: whether the bit that marks the length is part of the number, as in element ids.
    """
    first = file.read(1)
    if not first or not first[0]:
        return 0
    length = 9 - first[0].bit_length()
    value = int.from_bytes(first + file.read(length - 1), "big")
    if keeps_length:
        return value
    value &= (1 << 7 * length) - 1
    return None if value == (1 << 7 * length) - 1 else value
