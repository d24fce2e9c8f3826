"""Pictures made to fill the memory are refused by their headers, whatever the format; nothing of them is decoded."""

import io
import struct
import zlib

import pytest
from PIL import Image, ImageFile

from prep.pictures.pixels import read_image
from prep.steps.problems import ItemProblem

SIDES = [10_000, 16_383, 60_000]  # beyond our limit, and twice beyond Pillow's


def png(side: int) -> bytes:
    """A header of `side` x `side` pixels, and a few compressed zeros."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return (
            struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        )

    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(1 << 20)))
    return b"\x89PNG\r\n\x1a\n" + body + chunk(b"IEND", b"")


def gif(side: int) -> bytes:
    """A canvas of `side` x `side` around a frame of one pixel."""
    small = io.BytesIO()
    Image.new("P", (1, 1)).save(small, "GIF")
    data = bytearray(small.getvalue())
    data[6:10] = struct.pack("<HH", side, side)
    return bytes(data)


def webp(side: int) -> bytes:
    """A canvas of the extended format around one pixel."""
    small = io.BytesIO()
    Image.new("RGBA", (1, 1), (0, 0, 0, 9)).save(small, "WEBP")
    data = bytearray(small.getvalue())
    at = data.index(b"VP8X") + 12
    data[at : at + 6] = (side - 1).to_bytes(3, "little") * 2
    return bytes(data)


def bmp(side: int) -> bytes:
    """A header of `side` x `side` pixels without any."""
    small = io.BytesIO()
    Image.new("RGB", (1, 1)).save(small, "BMP")
    data = bytearray(small.getvalue())
    data[18:26] = struct.pack("<ii", side, side)
    return bytes(data)


def tiff(side: int) -> bytes:
    """Width and height in the directory of a file of one pixel."""
    small = io.BytesIO()
    Image.new("RGB", (1, 1)).save(small, "TIFF")
    data = bytearray(small.getvalue())
    (start,) = struct.unpack_from("<I", data, 4)
    (entries,) = struct.unpack_from("<H", data, start)
    for entry in range(entries):
        at = start + 2 + 12 * entry
        if struct.unpack_from("<H", data, at)[0] in (256, 257):
            data[at + 2 : at + 12] = struct.pack("<HII", 4, 1, side)
    return bytes(data)


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("bomb", [png, gif, webp, bmp, tiff], ids=lambda bomb: bomb.__name__)
def test_a_bomb_is_too_large_and_nothing_of_it_is_decoded(tmp_path, monkeypatch, bomb, side):
    path = tmp_path / "a.jpg"
    path.write_bytes(bomb(min(side, 16_383) if bomb is webp else side))

    def decode(*_):
        raise AssertionError("decoded")

    monkeypatch.setattr(ImageFile.ImageFile, "load", decode)
    with pytest.raises(ItemProblem, match=r"pixels|decoder") as refused:
        read_image(path)
    # libwebp refuses a canvas that its one frame does not fill before it says how large it is.
    assert refused.value.status == "too_large" or (bomb is webp and side == 10_000)
