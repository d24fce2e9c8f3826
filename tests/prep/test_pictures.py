"""Pictures are stored as viewers display them, in every common format and variant."""

import io
import struct
import sys
import zlib

import numpy as np
import pytest
from PIL import Image, ImageSequence

from prep.pictures.pixels import read_image, read_picture
from prep.steps.problems import ItemProblem

RED, BLUE, YELLOW, WHITE, BLACK = (200, 20, 20), (20, 20, 200), (240, 220, 20), (255,) * 3, (0,) * 3


def scene(width=48, height=32):
    """Red above blue, yellow at the top left: no turn or mirror image of it is the same."""
    pixels = np.zeros((height, width, 3), np.uint8)
    pixels[: height // 2], pixels[height // 2 :] = RED, BLUE
    pixels[: height // 4, : width // 4] = YELLOW
    return pixels


def written(tmp_path, image, kind, name="a.jpg", **options):
    path = tmp_path / name
    image.save(path, kind, **options)
    return path


def rgb(path):
    return read_image(path)[:, :, ::-1].astype(int)


def near(found, expected, tolerance=24):
    """Whether pixels are the expected ones but for what lossy coding does at edges."""
    assert found.shape == np.asarray(expected).shape
    return np.median(abs(found - np.asarray(expected, int))) <= 6 and (
        np.mean(abs(found - np.asarray(expected, int))) < tolerance
    )


# --- alpha


def logo(mode="RGBA"):
    """Black on nothing, and black hidden under the nothing."""
    image = Image.new("RGBA", (40, 40), (0, 0, 0, 0))
    image.paste((0, 0, 0, 255), (12, 12, 28, 28))
    return image.convert(mode)


def palette_logo():
    """With tRNS: the first colour, black like the other, is transparent."""
    image = Image.new("P", (40, 40), 0)
    image.putpalette([0, 0, 0, 0, 0, 0])
    image.paste(1, (12, 12, 28, 28))
    return image


def wide_logo():
    """16 bits of grey, one value of which is transparent."""
    values = np.full((40, 40), 300, np.uint16)
    values[12:28, 12:28] = 2
    return Image.fromarray(values)


def bit_logo():
    """One bit of black and white, white is transparent."""
    return logo().getchannel("A").point(lambda alpha: 255 - alpha).convert("1")


LOGOS = {
    "png": (logo, {"kind": "PNG"}),
    "png_grey": (lambda: logo("LA"), {"kind": "PNG"}),
    "png_palette": (palette_logo, {"kind": "PNG", "transparency": 0}),
    "png_palette_bytes": (palette_logo, {"kind": "PNG", "transparency": b"\0\xff"}),
    "png_rgb_key": (
        lambda: Image.alpha_composite(Image.new("RGBA", (40, 40), (9, 9, 9, 255)), logo()).convert(
            "RGB"
        ),
        {"kind": "PNG", "transparency": (9, 9, 9)},
    ),
    "png_bit_key": (bit_logo, {"kind": "PNG", "transparency": 1}),
    "png_16_bit_key": (wide_logo, {"kind": "PNG", "transparency": 300}),
    "webp_lossless": (logo, {"kind": "WEBP", "lossless": True, "exact": True}),
    "webp_lossy": (logo, {"kind": "WEBP", "quality": 90}),
    "gif": (palette_logo, {"kind": "GIF", "transparency": 0}),
    "avif": (logo, {"kind": "AVIF", "quality": 95}),
    "tiff": (logo, {"kind": "TIFF"}),
    "tiff_grey": (lambda: logo("LA"), {"kind": "TIFF"}),
    "ico": (logo, {"kind": "ICO", "sizes": [(40, 40)]}),
    "jpeg_2000": (logo, {"kind": "JPEG2000"}),
}


@pytest.mark.parametrize("form", LOGOS)
def test_what_is_transparent_is_white_in_every_format(tmp_path, form):
    draw, options = LOGOS[form]
    kind = options["kind"]
    picture = read_picture(written(tmp_path, draw(), **options))
    assert picture.on_white, kind
    assert picture.pixels[:8].min() > 240 and picture.pixels[16:24, 16:24].max() < 15


def test_half_transparent_is_halfway_to_white(tmp_path):
    path = written(tmp_path, Image.new("RGBA", (9, 9), (0, 0, 200, 128)), "PNG")
    assert abs(rgb(path)[4, 4] - (127, 127, 227)).max() <= 1


def test_an_alpha_channel_that_hides_nothing_is_not_spoken_of(tmp_path):
    image = Image.fromarray(scene()).convert("RGBA")
    picture = read_picture(written(tmp_path, image, "PNG"))
    assert not picture.on_white
    assert (picture.pixels[:, :, ::-1] == scene()).all()


def test_16_bits_with_alpha(tmp_path):
    """Pillow writes none: an RGBA PNG by hand, grey of half the range, the left half transparent."""
    row = b"\0" + struct.pack(">4H", 0, 0, 0, 0) * 4 + struct.pack(">4H", *[0x8000] * 3, 0xFFFF) * 4
    chunks = {
        b"IHDR": struct.pack(">IIBBBBB", 8, 8, 16, 6, 0, 0, 0),
        b"IDAT": zlib.compress(row * 8),
    }
    png = b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))
        for name, body in {**chunks, b"IEND": b""}.items()
    )
    (tmp_path / "a.png").write_bytes(png)
    found = rgb(tmp_path / "a.png")
    assert (found[:, :4] == 255).all() and (abs(found[:, 4:] - 128) <= 1).all()


# --- animations: the first frame


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG", "AVIF"])
def test_of_an_animation_the_first_frame_counts(tmp_path, kind):
    frames = [Image.fromarray(scene()), *(Image.new("RGB", (48, 32), (0, 255, k)) for k in (0, 90))]
    path = written(tmp_path, frames[0], kind, save_all=True, append_images=frames[1:], duration=50)
    with Image.open(path) as image:
        assert sum(1 for _ in ImageSequence.Iterator(image)) == 3
    assert near(rgb(path), scene())


def test_a_gif_whose_first_frame_is_smaller_than_its_canvas(tmp_path):
    """Browsers leave the rest bare; the palette's first colour, black, was there."""
    data = io.BytesIO()
    image = Image.new("P", (16, 16), 1)
    image.putpalette([0, 0, 0, 200, 20, 20])
    image.save(data, "GIF")
    gif = bytearray(data.getvalue())
    gif[6:10] = struct.pack("<2H", 40, 24)  # the canvas, of the logical screen descriptor
    at = gif.index(b",", 13)
    gif[at + 1 : at + 5] = struct.pack("<2H", 10, 4)  # where the frame lies
    (tmp_path / "a.gif").write_bytes(gif)
    picture = read_picture(tmp_path / "a.gif")
    expected = np.full((24, 40, 3), 255)
    expected[4:20, 10:26] = RED
    assert picture.on_white and (picture.pixels[:, :, ::-1] == expected).all()


# --- orientation, once

UPRIGHT = {  # how a picture that lies so in the file comes to stand
    1: lambda a: a,
    2: np.fliplr,
    3: lambda a: np.rot90(a, 2),
    4: np.flipud,
    5: lambda a: a.swapaxes(0, 1),
    6: lambda a: np.rot90(a, -1),
    7: lambda a: np.rot90(a.swapaxes(0, 1), 2),
    8: np.rot90,
}


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF"])
@pytest.mark.parametrize("orientation", UPRIGHT)
def test_pictures_stand_as_their_metadata_say(tmp_path, kind, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = written(tmp_path, Image.fromarray(scene()), kind, exif=exif)  # AVIF: irot and imir
    assert near(rgb(path), UPRIGHT[orientation](scene()))


def test_metadata_that_cannot_be_read_leave_a_picture_as_it_lies(tmp_path):
    path = written(
        tmp_path, Image.fromarray(scene()), "JPEG", exif=b"Exif\0\0II*\0\xff\xff\xff\xff"
    )
    assert near(rgb(path), scene())
    path = written(
        tmp_path, Image.fromarray(scene()), "PNG", exif=b"Exif\0\0MM\0*\0\0\0\x08\xff\xff\0"
    )
    assert near(rgb(path), scene())


@pytest.mark.parametrize("kind", ["JPEG", "WEBP"])
def test_an_orientation_in_xmp_is_not_for_viewers(tmp_path, kind):
    xmp = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><r tiff:Orientation="6"/></x:xmpmeta>'
    assert near(rgb(written(tmp_path, Image.fromarray(scene()), kind, xmp=xmp)), scene())


# --- colours


def test_cmyk_and_grey_and_wide_values(tmp_path):
    image = Image.fromarray(scene())
    assert near(rgb(written(tmp_path, image.convert("CMYK"), "JPEG", quality=95)), scene())
    grey = np.asarray(image.convert("L")).astype(np.uint16)
    expected = np.repeat(grey[:, :, None], 3, axis=2)
    assert near(rgb(written(tmp_path, Image.fromarray(grey.astype(np.uint8)), "JPEG")), expected)
    for kind in ("PNG", "TIFF"):  # 16 bits: scaled, not cut off at 255
        assert (rgb(written(tmp_path, Image.fromarray(grey * 257), kind)) == expected).all()


def test_values_without_a_range_are_told(tmp_path):
    path = written(tmp_path, Image.fromarray(np.float32([[0, 3.5e8]])), "TIFF")
    with pytest.raises(ItemProblem, match=r"values from 0 to 3.5e\+08 without a known range"):
        read_image(path)


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"subsampling": 0}])
def test_both_decoders_of_jpegs_have_the_same_pixels(tmp_path, options):
    """Plain ones are OpenCV's, turned ones Pillow's."""
    pixels = np.random.default_rng(0).integers(0, 256, (40, 56, 3)).astype(np.uint8)
    exif = Image.Exif()
    exif[0x0112] = 3
    plain = written(tmp_path, Image.fromarray(pixels), "JPEG", name="1.jpg", **options)
    turned = written(tmp_path, Image.fromarray(pixels), "JPEG", name="2.jpg", exif=exif, **options)
    assert (rgb(plain) == np.rot90(rgb(turned), 2)).all()


# --- what lies around a JPEG's picture


def jpeg_of(pixels=None, **options):
    data = io.BytesIO()
    noise = np.random.default_rng(0).integers(0, 256, (90, 120, 3)).astype(np.uint8)
    Image.fromarray(noise if pixels is None else pixels).save(data, "JPEG", **options)
    return data.getvalue()


FORMS = {
    "plain": {},
    "progressive": {"progressive": True},
    "restarts": {"restart_marker_blocks": 3},
    "full_colour": {"subsampling": 0},
}
FILM = (
    b"\0\0\0\x18ftypmp42\0\0\0\0mp42isom"
    + b"\0" * 999
    + b"\xff\xd9"
    + b"\1" * 999
    + b"\xff\xda"
    + b"\2" * 99
)
BEHIND = {
    "film": FILM,
    "zeros": bytes(4096),
    "second picture": jpeg_of(scene()),
    "start of one": jpeg_of(scene())[:300],
    "a byte": b"\n",
    "end again": b"\xff\xd9",
    "random": np.random.default_rng(1).bytes(5000),
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("behind", BEHIND)
def test_what_lies_behind_a_jpeg_does_not_matter(tmp_path, form, behind):
    path, plain = tmp_path / "a.jpg", jpeg_of(**FORMS[form])
    path.write_bytes(plain)
    expected = read_image(path)
    path.write_bytes(plain + BEHIND[behind])
    assert (read_image(path) == expected).all()


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("end", [b"", b"\xff"], ids=["absent", "half"])
def test_a_jpeg_without_its_end_mark_is_whole(tmp_path, form, end):
    path, plain = tmp_path / "a.jpg", jpeg_of(**FORMS[form])
    path.write_bytes(plain)
    expected = read_image(path)
    path.write_bytes(plain[:-2] + end)
    assert (read_image(path) == expected).all()


@pytest.mark.parametrize("behind", ["nothing", *(name for name in BEHIND if name != "end again")])
@pytest.mark.parametrize("form", FORMS)
def test_a_cut_jpeg_is_corrupt_whatever_follows(tmp_path, form, behind):
    path, plain = tmp_path / "a.jpg", jpeg_of(**FORMS[form])
    for cut in (
        (len(plain) // 2, len(plain) // 3)
        if behind == "film"
        else (len(plain) // 2, len(plain) - 8)
    ):
        path.write_bytes(plain[:cut] + BEHIND.get(behind, b""))
        with pytest.raises(ItemProblem, match="ends in the middle of its JPEG data") as problem:
            read_image(path)
        assert problem.value.status == "corrupt"


@pytest.mark.parametrize("form", ["progressive", "restarts"])  # the others have one part
def test_a_jpeg_cut_between_its_parts_is_corrupt(tmp_path, form):
    """At the end of a scan or a restart interval: no bit of what is there is missing."""
    path, plain = tmp_path / "a.jpg", jpeg_of(scene(120, 90), **FORMS[form])
    marks = [
        at
        for at in range(len(plain))
        if plain[at] == 0xFF and plain[at + 1] in (0xC4, 0xDA, 0xD0, 0xD3)
    ]
    first_scan = plain.index(b"\xff\xda")
    ends = [at for at in marks if at > first_scan]
    assert ends
    for at in ends:
        path.write_bytes(plain[:at])
        with pytest.raises(ItemProblem, match="ends in the middle"):
            read_image(path)


def test_a_download_filled_up_with_zeros_is_corrupt(tmp_path):
    path, plain = tmp_path / "a.jpg", jpeg_of()
    path.write_bytes(plain[: len(plain) // 2] + bytes(len(plain) // 2))
    with pytest.raises(ItemProblem, match="ends in the middle"):
        read_image(path)


def test_the_end_of_a_thumbnail_is_not_the_end_of_the_picture(tmp_path):
    path, plain = tmp_path / "a.jpg", jpeg_of(scene(120, 90))
    thumbnail = b"Exif\0\0" + jpeg_of(scene(24, 16))
    held = plain[:2] + b"\xff\xe1" + struct.pack(">H", len(thumbnail) + 2) + thumbnail + plain[2:]
    path.write_bytes(held)
    assert near(rgb(path), scene(120, 90))
    path.write_bytes(held[: len(held) - len(plain) // 3])
    with pytest.raises(ItemProblem, match="ends in the middle"):
        read_image(path)


def test_the_first_of_several_pictures_in_one_file(tmp_path):
    other = Image.new("RGB", (48, 32), (0, 255, 0))
    path = written(tmp_path, Image.fromarray(scene()), "MPO", save_all=True, append_images=[other])
    assert near(rgb(path), scene())


@pytest.mark.parametrize("kind", ["PNG", "GIF", "WEBP", "AVIF", "TIFF", "BMP"])
def test_other_formats_cut_in_the_middle_are_corrupt(tmp_path, kind):
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3)).astype(np.uint8)
    path = written(tmp_path, Image.fromarray(noise), kind)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(ItemProblem) as problem:
        read_image(path)
    assert problem.value.status == "corrupt"


# --- pictures in ISO files, and what is no picture


def heif(tmp_path, *brands, size=(64, 48)):
    """An HEIC of a scene; the first of the brands is the major one."""
    library = pytest.importorskip("pillow_heif")
    data = io.BytesIO()
    library.from_pillow(Image.fromarray(scene(*size))).save(data, quality=90)
    box = data.getvalue()
    rest = box[int.from_bytes(box[:4], "big") :]
    # Offsets in the file are absolute, so the box of brands keeps its length.
    names = [*brands, *[b"miaf"] * 9][: int.from_bytes(box[:4], "big") // 4 - 3]
    head = box[:8] + names[0] + bytes(4) + b"".join(names[1:])
    path = tmp_path / "1.jpg"
    path.write_bytes(head + rest)
    return path


BRANDS = [
    (b"heic", b"mif1"),
    (b"mif1", b"heic"),
    (b"heix", b"mif1"),
    (b"mif1", b"mif1"),
    (b"MiHE", b"heic"),
]


@pytest.mark.parametrize("brands", BRANDS)
def test_heic_is_read_where_its_library_is(tmp_path, brands):
    assert near(rgb(heif(tmp_path, *brands)), scene(64, 48))


def iso_file(tmp_path, *brands):
    path = tmp_path / "1.jpg"
    box = b"ftyp" + brands[0] + bytes(4) + b"".join(brands[1:])
    path.write_bytes(struct.pack(">I", len(box) + 4) + box + bytes(64))
    return path


@pytest.mark.parametrize("brands", [*BRANDS, (b"hevc", b"msf1"), (b"heis",)])
def test_heic_without_its_library_says_what_it_is_and_what_to_do(tmp_path, monkeypatch, brands):
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    with pytest.raises(
        ItemProblem, match=r"1.jpg holds HEI.*convert it to JPEG, or pip install"
    ) as problem:
        read_image(iso_file(tmp_path, *brands))
    assert problem.value.status == "unsupported" and "HEIC" in problem.value.message


@pytest.mark.parametrize("brands", [(b"mif1", b"avif"), (b"miaf", b"avif"), (b"avif", b"mif1")])
def test_avif_under_every_brand(tmp_path, brands):
    path = written(tmp_path, Image.fromarray(scene()), "AVIF", name="1.jpg")
    data = path.read_bytes()
    length = int.from_bytes(data[:4], "big")
    names = [*brands, *[b"miaf"] * 9][: length // 4 - 3]
    path.write_bytes(data[:8] + names[0] + bytes(4) + b"".join(names[1:]) + data[length:])
    assert near(rgb(path), scene())


def test_a_codec_that_the_library_lacks_is_unsupported(tmp_path):
    with pytest.raises(
        ItemProblem, match=r"1.jpg holds HEIF or HEIC.*convert it to JPEG"
    ) as problem:
        read_image(heif(tmp_path, b"mif1", b"miaf"))
    assert problem.value.status == "unsupported"


def test_a_broken_heic_is_corrupt(tmp_path):
    path = heif(tmp_path, b"heic", b"mif1")
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(ItemProblem) as problem:
        read_image(path)
    assert problem.value.status == "corrupt"


@pytest.mark.parametrize("turn", [3, 6, 8, 2])
def test_a_turned_heic_is_turned_once(tmp_path, turn):
    library = pytest.importorskip("pillow_heif")
    exif = Image.Exif()
    exif[0x0112] = turn
    image = Image.fromarray(scene(64, 48))
    library.from_pillow(image).save(tmp_path / "1.heic", quality=90, exif=exif.tobytes())
    assert near(rgb(tmp_path / "1.heic"), UPRIGHT[turn](scene(64, 48)))


@pytest.mark.parametrize(
    ("head", "status", "name"),
    [
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "unsupported", "SVG"),
        (b"\xef\xbb\xbf<?xml version='1.0'?><!-- a logo --><svg/>", "unsupported", "SVG"),
        (b"%PDF-1.7", "unsupported", "PDF"),
        (b"\n<!DOCTYPE html><html>Not found</html>", "unsupported", "HTML"),
        (b'{"error": 404}', "unsupported", "JSON"),
        (b"\0\0\0\x18ftypisom\0\0\0\0isommp42", "unsupported", "MP4"),
        (b"\0\0\1\0ftypisom\0\0\0\0isommp42", "unsupported", "MP4"),
        (b"\0\0\0\x08wide\0\0\0\0mdat", "unsupported", "QuickTime"),
        (b"\x1a\x45\xdf\xa3" + b"\0" * 20, "unsupported", "Matroska or WebM"),
        (b"\0\0\0\x0cJXL \r\n\x87\n", "unsupported", "JPEG XL"),
        (b"\xff\x0a" + b"\1" * 30, "unsupported", "JPEG XL"),
        (b"8BPS\0\1" + b"\0" * 30, "unsupported", "Photoshop"),
        (b"PK\x03\x04", "unsupported", "ZIP"),
        (b"version https://git-lfs.github.com/spec/v1\n", "unsupported", "Git LFS pointer"),
        (b"II*\0", "corrupt", "header"),
        (b"BM", "corrupt", "header"),
        (b"\0\0\1\0\1\0", "corrupt", "header"),
        (b"\0\0\0\0\0\0\0\0", "corrupt", "no known format"),
    ],
)
def test_what_is_no_picture_is_called_by_its_name(tmp_path, head, status, name):
    (tmp_path / "a.jpg").write_bytes(head)
    with pytest.raises(ItemProblem) as problem:
        read_image(tmp_path / "a.jpg")
    assert problem.value.status == status and name in problem.value.message
    assert str(tmp_path) not in problem.value.message
