"""Covers: size, orientation, and the status of every kind of defect."""

import hashlib
import struct
import zlib

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

from prep.pictures.covers import make_covers
from toolkit.images import decode_jpeg

RED, BLUE = (200, 20, 20), (20, 20, 200)


@pytest.fixture
def folder(tmp_path):
    path = tmp_path / "dump" / "covers"
    path.mkdir(parents=True)
    return path


def cover_of(folder, item_id="a", cover_px=256):
    batch = pa.RecordBatch.from_pydict({"item_id": [item_id]})
    (row,) = make_covers(batch, dump=folder.parent, folder=folder, cover_px=cover_px).to_pylist()
    return row


def half_red_half_blue(width, height):
    """Red above, blue below."""
    pixels = np.zeros((height, width, 3), dtype=np.uint8)
    pixels[: height // 2], pixels[height // 2 :] = RED, BLUE
    return Image.fromarray(pixels)


def png_of(width, height):
    """A PNG's signature and header, as long as it claims to be large."""
    header = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    data = b"IDAT"
    chunks = [
        struct.pack(">I", len(c) - 4) + c + struct.pack(">I", zlib.crc32(c)) for c in (header, data)
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


@pytest.mark.parametrize(
    ("size", "expected"),
    [((640, 320), (512, 256)), ((300, 900), (256, 768)), ((100, 80), (100, 80))],
)
def test_the_shorter_side_shrinks_and_never_grows(folder, size, expected):
    half_red_half_blue(*size).save(folder / "a.jpg")
    row = cover_of(folder)
    assert (row["status"], row["message"]) == ("ok", None)
    assert (row["width_px"], row["height_px"]) == expected
    assert decode_jpeg(row["image"]).shape == (*expected[::-1], 3)


def test_colours_survive(folder):
    half_red_half_blue(64, 64).save(folder / "a.jpg", quality=95)
    pixels = decode_jpeg(cover_of(folder)["image"]).astype(int)
    assert abs(pixels[8, 32] - RED).max() < 12
    assert abs(pixels[56, 32] - BLUE).max() < 12


def test_exif_orientation_is_honoured(folder):
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees clockwise: what is on top comes to the right
    half_red_half_blue(80, 40).save(folder / "a.jpg", exif=exif, quality=95)
    row = cover_of(folder)
    assert (row["width_px"], row["height_px"]) == (40, 80)
    pixels = decode_jpeg(row["image"]).astype(int)
    assert abs(pixels[40, 35] - RED).max() < 12
    assert abs(pixels[40, 5] - BLUE).max() < 12


def test_grey_and_transparent_images_become_colour(folder):
    Image.new("L", (50, 50), 128).save(folder / "a.jpg")
    assert decode_jpeg(cover_of(folder)["image"]).shape == (50, 50, 3)


def spoil_missing(path):
    pass


def spoil_empty(path):
    path.touch()


def spoil_noise(path):
    path.write_bytes(b"\x01\x02\x03" * 1000)


def spoil_cut(path):
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (99, 99, 3), np.uint8)).save(path)
    path.write_bytes(path.read_bytes()[:4000])


def spoil_header(path):
    path.write_bytes(b"\xff\xd8\xff\xe0" + b"\0" * 100)


def spoil_page(path):
    path.write_text("<html>404</html>")


def spoil_clip(path):
    path.write_bytes(b"\0\0\0\x18ftypisom" + b"\0" * 100)


def spoil_large(path):
    path.write_bytes(png_of(10_000, 6_000))


def spoil_bomb(path):
    path.write_bytes(png_of(100_000, 100_000))


def spoil_link(path):
    outside = path.parents[2] / "outside.jpg"
    half_red_half_blue(9, 9).save(outside)
    path.symlink_to(outside)


def spoil_dead_link(path):
    path.symlink_to(path.parent / "nowhere.jpg")


@pytest.mark.parametrize(
    ("spoil", "status", "message"),
    [
        (spoil_missing, "missing", "covers/a.jpg is not in the dump"),
        (spoil_dead_link, "missing", "covers/a.jpg is a link to a missing file"),
        (spoil_empty, "empty", "covers/a.jpg has zero bytes"),
        (spoil_noise, "corrupt", "a.jpg has no readable image header (of no known format)"),
        (spoil_header, "corrupt", "a.jpg has no readable image header"),
        (spoil_cut, "corrupt", "a.jpg ends in the middle of its JPEG data"),
        (spoil_page, "unsupported", "a.jpg holds HTML or XML, not image data"),
        (spoil_clip, "unsupported", "a.jpg holds MP4, not image data"),
        (spoil_large, "too_large", "a.jpg is 10000x6000 px, more than 50,000,000 pixels"),
        (spoil_bomb, "too_large", "a.jpg"),
        (spoil_link, "unsafe", "covers/a.jpg is a link out of the dump, to "),
    ],
)
def test_bad_covers_have_a_word_and_a_message(folder, spoil, status, message):
    spoil(folder / "a.jpg")
    row = cover_of(folder)
    assert row["status"] == status
    assert row["message"].startswith(message)
    assert (row["image"], row["width_px"]) == (None, None)


def test_a_row_says_which_file_it_was_made_from(folder):
    half_red_half_blue(9, 9).save(folder / "a.jpg")
    spoil_page(folder / "b.jpg")
    for name in ("a", "b"):  # bad ones too
        data = (folder / f"{name}.jpg").read_bytes()
        row = cover_of(folder, name)
        assert row["source_bytes"] == len(data)
        assert row["source_sha256"] == hashlib.sha256(data).hexdigest()
    assert cover_of(folder, "c")["source_bytes"] is None


def test_a_file_that_cannot_be_read_is_corrupt(folder, monkeypatch):
    half_red_half_blue(9, 9).save(folder / "a.jpg")

    def fail(file, digest):
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(hashlib, "file_digest", fail)
    row = cover_of(folder)
    assert (row["status"], row["source_sha256"]) == ("corrupt", None)
    assert row["message"] == "a.jpg cannot be read (Input/output error)"


def test_an_id_that_leaves_the_folder_is_unsafe(folder):
    half_red_half_blue(9, 9).save(folder.parent / "secret.jpg")
    assert cover_of(folder, "../secret")["status"] == "unsafe"


def test_a_link_within_the_dump_is_fine(folder):
    half_red_half_blue(9, 9).save(folder.parent / "shared.jpg")
    (folder / "a.jpg").symlink_to(folder.parent / "shared.jpg")
    assert cover_of(folder)["status"] == "ok"
