"""Pixels: decoding a cover, making it smaller, writing JPEG. Arrays are BGR, as OpenCV has them.

H height, W width.
"""

import re
import warnings
from pathlib import Path
from typing import TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from prep.problems import ItemProblem

Pixels: TypeAlias = NDArray[np.uint8]

PIXEL_LIMIT = 50_000_000  # an image or frame beyond this is a mistake or an attack
SCAN_LIMIT = 500  # libjpeg-turbo's for what is not trusted; its own encoder writes ten
JPEG_QUALITY = 90
# The header of a scan of one to four components (ITU T.81, B.2.3): so long that other data hardly hold it.
_SCAN = re.compile(rb"\xff\xda\0(?:\x08\x01|\x0a\x02|\x0c\x03|\x0e\x04)")


def refuse_too_large(name: str, width_px: int, height_px: int) -> None:
    """Lets through what may be decoded without filling the memory.

    Raises:
        ItemProblem: too_large.
    """
    if width_px * height_px > PIXEL_LIMIT:
        raise ItemProblem(
            "too_large",
            f"{name} is {width_px}x{height_px} px, more than {PIXEL_LIMIT:,} pixels",
        )


def refuse_scan_bomb(name: str, data: bytes) -> None:
    """Lets through a JPEG of no more scans than any encoder writes: each decodes the whole picture anew.

    Raises:
        ItemProblem: unsafe.
    """
    scans = len(_SCAN.findall(data))
    if scans > SCAN_LIMIT:
        raise ItemProblem(
            "unsafe",
            f"{name} is a JPEG of {scans:,} scans, more than {SCAN_LIMIT}: it is made to decode for minutes",
        )


def read_image(path: Path) -> Pixels:
    """An image file as it is meant to be seen (EXIF orientation applied), (H, W, 3) BGR uint8.

    Raises:
        ItemProblem: too_large, by its header alone; unsafe; corrupt.
    """
    _check_header(path)
    data = path.read_bytes()
    refuse_scan_bomb(path.name, data)
    if _is_cut_jpeg(data):
        raise ItemProblem("corrupt", f"{path.name} ends in the middle of its JPEG data")
    image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    if image is None:
        raise ItemProblem("corrupt", f"{path.name} cannot be decoded as an image")
    return image.astype(np.uint8, copy=False)


def fitted(width: int, height: int, shorter_px: int | None) -> tuple[int, int]:
    """Width and height with the shorter at most `shorter_px`, in proportion; never larger than they were.

    >>> fitted(1280, 720, 224)
    (398, 224)
    """
    scale = 1.0 if shorter_px is None else shorter_px / min(width, height)
    if scale >= 1:
        return width, height
    return max(round(width * scale), 1), max(round(height * scale), 1)


def shrink(image: Pixels, shorter_px: int | None) -> Pixels:
    """The image with its shorter side at most `shorter_px`, in proportion; never larger than it was."""
    height, width = image.shape[:2]
    size = fitted(width, height, shorter_px)
    if size == (width, height):
        return image
    return cv2.resize(image, size, interpolation=cv2.INTER_AREA).astype(np.uint8, copy=False)


def to_jpeg(image: Pixels) -> bytes:
    """JPEG bytes of an image."""
    _, data = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
    return data.tobytes()


def _check_header(path: Path) -> None:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter(
                "ignore", Image.DecompressionBombWarning
            )  # the limit here is lower
            with Image.open(path) as image:
                size = image.size
    except Image.DecompressionBombError as error:
        raise ItemProblem("too_large", f"{path.name}: {error}") from None
    except (OSError, ValueError, SyntaxError) as error:
        # Pillow's own words hold the whole path, which differs from machine to machine.
        reason = "of no known format" if isinstance(error, UnidentifiedImageError) else error
        raise ItemProblem(
            "corrupt", f"{path.name} has no readable image header ({reason})"
        ) from None
    refuse_too_large(path.name, *size)


def _is_cut_jpeg(data: bytes) -> bool:
    """Whether a JPEG's last scan is never closed; OpenCV 4 fills the rest with grey without a word."""
    return data.startswith(b"\xff\xd8") and data.rfind(b"\xff\xd9") < data.rfind(b"\xff\xda")
