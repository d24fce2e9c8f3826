"""Decodes pictures, scales them down and writes JPEG. Arrays are BGR, as in OpenCV.

H height, W width.
"""

import io
import re
import warnings
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from prep.pictures import jpeg
from prep.pictures.upright import as_seen, orientation
from prep.readers.sniff import HEAD_BYTES, Kind, kind_of, refuse_other, unreadable
from prep.steps.problems import ItemProblem
from toolkit.schema import Status

Pixels: TypeAlias = NDArray[np.uint8]

PIXEL_LIMIT = 50_000_000  # a larger image or frame is a mistake or an attack
FILE_LIMIT_BYTES = 2**29
SCAN_LIMIT = 500  # libjpeg-turbo's limit for untrusted input; its own encoder writes ten scans
# The header of a scan with one to four components (ITU T.81, B.2.3); long enough to be rare in other data.
_SCAN = re.compile(rb"\xff\xda\0(?:\x08\x01|\x0a\x02|\x0c\x03|\x0e\x04)")
JPEG_QUALITY = 90
MESSAGE_LETTERS = 300
ON_WHITE = "transparent parts put on white"  # value of the column `note`
_KNOWN_BRANDS = {
    "AVIF": (b"avif", b"avis"),
    "HEIC": (b"heic", b"heix", b"hevc", b"hevx"),
    "HEIF or HEIC": (b"heic",),
}


class Picture(NamedTuple):
    """A decoded picture.

    Args:
        pixels: (H, W, 3) BGR uint8, upright.
        on_white: whether it has transparent parts, which were put on white.
    """

    pixels: Pixels
    on_white: bool


def refuse_too_large(name: str, width_px: int, height_px: int) -> None:
    """Refuses pictures that are too large to decode safely.

    Raises:
        ItemProblem: too_large.
    """
    if width_px * height_px > PIXEL_LIMIT:
        raise ItemProblem(
            "too_large",
            f"{name} is {width_px}x{height_px} px, more than {PIXEL_LIMIT:,} pixels",
        )


def refuse_scan_bomb(name: str, data: bytes) -> None:
    """Refuses a JPEG with more scans than any encoder writes, because each scan decodes the whole picture again.

    Raises:
        ItemProblem: unsafe.
    """
    scans = len(_SCAN.findall(data))
    if scans > SCAN_LIMIT:
        raise ItemProblem(
            "unsafe",
            f"{name} is a JPEG of {scans:,} scans, more than {SCAN_LIMIT}: it is built to take minutes to decode",
        )


def read_image(path: Path) -> Pixels:
    """The pixels of `read_picture`, (H, W, 3) BGR uint8."""
    return read_picture(path).pixels


def read_picture(path: Path) -> Picture:
    """Reads an image file in its display form: the first frame, upright, with transparent parts on white.

    All pictures of a dump are read by this function. Trailing bytes after the picture are ignored.

    Raises:
        ItemProblem: too_large, according to its header; unsafe, if it is built to take minutes to decode;
            unsupported, if it is not a picture or has no decoder; corrupt, if it is cut off, broken or unreadable.
    """
    refuse_other(path, "image")
    data = _bytes_of(path)
    refuse_scan_bomb(path.name, data)
    kind = kind_of(data[:HEAD_BYTES])
    with warnings.catch_warnings():
        # Pillow warns of oddities in files that it can read; its size limit is higher than ours.
        warnings.simplefilter("ignore")
        image = _opened(path.name, data, kind)
        refuse_too_large(path.name, *image.size)
        if image.format in ("JPEG", "MPO"):
            picture = _whole_jpeg(path.name, data)
            if image.mode in ("L", "RGB") and orientation(image) not in range(2, 9):
                return _plain_jpeg(path.name, picture)
            image = _opened(path.name, picture, kind)
        return _decoded(path.name, image)


def _bytes_of(path: Path) -> bytes:
    try:
        size = path.stat().st_size
        if size > FILE_LIMIT_BYTES:
            raise ItemProblem(
                "too_large", f"{path.name} has {size:,} bytes, more than {FILE_LIMIT_BYTES:,}"
            )
        return path.read_bytes()
    except OSError as error:
        raise ItemProblem("corrupt", unreadable(path, error)) from None


def _opened(name: str, data: bytes, kind: Kind | None) -> Image.Image:
    """Opens a picture and reads its header without decoding it."""
    if kind is None:
        raise ItemProblem("corrupt", f"{name} has no readable image header (of no known format)")
    if kind.decoder is None:
        raise ItemProblem(
            "unsupported",
            f"{name} holds {kind.name}, which prep cannot read; convert it to JPEG or PNG",
        )
    try:
        if kind.name in _KNOWN_BRANDS:
            data = _with_known_brand(data, kind)
        if kind.decoder == "HEIF":
            return _heif(name, data, kind)
        return Image.open(io.BytesIO(data), formats=[kind.decoder])
    except ItemProblem:
        raise
    except Image.DecompressionBombError as error:
        raise ItemProblem("too_large", f"{name}: {error}") from None
    except Exception as error:  # hostile bytes raise any exception in a decoder
        reason = f"not of {kind.name}" if isinstance(error, UnidentifiedImageError) else error
        raise ItemProblem(
            "corrupt", f"{name} has no readable image header ({_line(reason)})"
        ) from None


def _whole_jpeg(name: str, data: bytes) -> bytes:
    try:
        picture = jpeg.whole(data)
    except Exception as error:  # as above
        raise ItemProblem(
            "corrupt", f"{name} cannot be decoded as an image ({_line(error)})"
        ) from None
    if picture is None:
        raise ItemProblem("corrupt", f"{name} ends in the middle of its JPEG data")
    return picture


def _plain_jpeg(name: str, data: bytes) -> Picture:
    """Decodes an ordinary JPEG, as most covers are, with OpenCV: the same pixels as Pillow in half the time."""
    flags = cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION
    pixels = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    if pixels is None:
        raise ItemProblem("corrupt", f"{name} cannot be decoded as an image")
    return Picture(pixels.astype(np.uint8, copy=False), False)


def _with_known_brand(data: bytes, kind: Kind) -> bytes:
    """Replaces the major brand with a brand that the decoder knows; writers may list it only as compatible."""
    known = _KNOWN_BRANDS[kind.name]
    return data if data[8:12] in known else data[:8] + known[0] + data[12:]


def _heif(name: str, data: bytes, kind: Kind) -> Image.Image:
    """Decodes HEIF with libheif, which applies the rotation that the file requests."""
    library = _heif_library()
    if library is None:
        raise ItemProblem(
            "unsupported",
            f"{name} holds {kind.name}, which needs a library that is not installed: convert it to JPEG, or "
            'pip install "versa-toolkit[heic]"',
        )
    try:
        file = library.open_heif(io.BytesIO(data))
    except Exception as error:  # RuntimeError, ValueError and others, with libheif's message
        status: Status = "unsupported" if str(error).startswith("Unsupported") else "corrupt"
        reason = _line(error)
        raise ItemProblem(
            status, f"{name} holds {kind.name} that cannot be read ({reason}); convert it to JPEG"
        ) from None
    refuse_too_large(name, *file.size)
    image: Image.Image = file.to_pillow()
    image.info = {}  # viewers of HEIF must ignore the orientation in EXIF (ISO 23008-12)
    return image


def _heif_library() -> Any:
    try:
        import pillow_heif
    except ImportError:
        return None
    return pillow_heif


def _decoded(name: str, image: Image.Image) -> Picture:
    try:
        with image:
            seen = as_seen(image)
    except Exception as error:  # as above
        raise ItemProblem(
            "corrupt", f"{name} cannot be decoded as an image ({_line(error)})"
        ) from None
    pixels = cv2.cvtColor(np.asarray(seen.image), cv2.COLOR_RGB2BGR)
    return Picture(pixels.astype(np.uint8, copy=False), seen.on_white)


def _line(reason: object) -> str:
    """A library's message on one line of bounded length."""
    return " ".join(str(reason).split())[:MESSAGE_LETTERS]


def fitted(width: int, height: int, shorter_px: int | None) -> tuple[int, int]:
    """Width and height scaled so that the shorter side is at most `shorter_px`; never enlarged.

    >>> fitted(1280, 720, 224)
    (398, 224)
    """
    scale = 1.0 if shorter_px is None else shorter_px / min(width, height)
    if scale >= 1:
        return width, height
    return max(round(width * scale), 1), max(round(height * scale), 1)


def shrink(image: Pixels, shorter_px: int | None) -> Pixels:
    """Scales an image so that its shorter side is at most `shorter_px`; never enlarges it."""
    height, width = image.shape[:2]
    size = fitted(width, height, shorter_px)
    if size == (width, height):
        return image
    return cv2.resize(image, size, interpolation=cv2.INTER_AREA).astype(np.uint8, copy=False)


def to_jpeg(image: Pixels) -> bytes:
    """Encodes an image as JPEG."""
    _, data = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
    return data.tobytes()
