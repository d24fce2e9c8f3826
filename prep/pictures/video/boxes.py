"""Completeness of MP4 files in fragments, as phones and live streams write them: no header states their total length."""

import os
import struct
from typing import BinaryIO

_FRAGMENT_PARTS = (b"moof", b"mdat")
_HEADER_BYTES = 8


def ends_within_fragment(file: BinaryIO) -> bool:
    """Whether the file ends before its last fragment does (ISO/IEC 14496-12, 4.2: boxes and their sizes).

    Bytes after the last box are no part of the video and do not count. A file that was cut exactly between two
    fragments looks complete.

    Args:
        file: open, seekable.
    """
    end = file.seek(0, os.SEEK_END)
    start = 0
    while start + _HEADER_BYTES <= end:
        file.seek(start)
        size, kind = struct.unpack(">I4s", file.read(_HEADER_BYTES))
        if size == 1:  # the size follows in 8 bytes
            large = file.read(8)
            size = int.from_bytes(large) if len(large) == 8 else end
        if size < _HEADER_BYTES:  # 0 means up to the end of the file; anything else is no box
            return False
        if start + size > end:
            return kind in _FRAGMENT_PARTS
        start += size
    return False
