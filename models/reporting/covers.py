"""Cover thumbnails for the page."""

from collections.abc import Sequence

import cv2

from toolkit.dataset import Dataset
from toolkit.images import decode_jpeg, encode_jpeg
from toolkit.store import Table

LONGEST_PX = 128
QUALITY = 70


def small_covers(data: Dataset, numbers: Sequence[int]) -> dict[str, bytes]:
    """JPEG thumbnails of covers by item number. Items without a readable cover are left out.

    Args:
        data: the dataset, with or without covers.
        numbers: item numbers.
    """
    if not Table(data.path / "covers").exists():
        return {}
    stored = data.source_reader("cover").read(numbers).to_pylist()
    shrunk = {number: shrink(image) for number, image in zip(numbers, stored, strict=True) if image}
    return {str(number): image for number, image in shrunk.items() if image is not None}


def shrink(image: bytes) -> bytes | None:
    """A JPEG whose longer side is at most LONGEST_PX; None if `image` is not an image."""
    try:
        pixels = decode_jpeg(image)
    except ValueError:
        return None
    factor = LONGEST_PX / max(pixels.shape[:2])
    if factor < 1:
        size = [max(1, round(side * factor)) for side in pixels.shape[1::-1]]
        pixels = cv2.resize(pixels, size, interpolation=cv2.INTER_AREA)
    return encode_jpeg(pixels, quality=QUALITY)
