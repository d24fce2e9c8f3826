"""Converts an opened picture to its display form: upright, without alpha, eight bits per channel.

Colour profiles are not applied: pixels are read as sRGB.
"""

from typing import NamedTuple

import numpy as np
from PIL import Image, ImageFile
from PIL.Image import Transpose

_ORIENTATION = 0x0112  # tag of EXIF and TIFF
_TURNS = {
    2: Transpose.FLIP_LEFT_RIGHT,
    3: Transpose.ROTATE_180,
    4: Transpose.FLIP_TOP_BOTTOM,
    5: Transpose.TRANSPOSE,
    6: Transpose.ROTATE_270,
    7: Transpose.TRANSVERSE,
    8: Transpose.ROTATE_90,
}
_OPAQUE = 255


class Seen(NamedTuple):
    """A picture as a viewer shows it.

    Args:
        image: RGB image.
        on_white: whether it has transparent parts, which were put on white.
    """

    image: Image.Image
    on_white: bool


def as_seen(image: Image.Image) -> Seen:
    """The first frame of an opened picture, rotated according to its metadata, with transparent parts on white.

    Raises:
        ValueError: if the range of its values is unknown.
        OSError: if its data are cut off; Pillow raises further errors for broken data.
    """
    turn = _TURNS.get(orientation(image))
    box = _drawn(image)
    image.load()  # Pillow rotates a TIFF here, and resets its orientation
    if image.format == "TIFF":
        turn = _TURNS.get(orientation(image))
    seen = _over_white(_bare_outside(_eight_bits(image), box))
    return Seen(seen.image.transpose(turn), seen.on_white) if turn is not None else seen


def orientation(image: Image.Image) -> int:
    """The orientation in EXIF; 1 (upright) if it is absent or unreadable. Viewers ignore the orientation in XMP."""
    for name in ("xmp", "XML:com.adobe.xmp"):
        image.info.pop(name, None)  # Pillow would use it instead of EXIF
    try:
        return int(image.getexif().get(_ORIENTATION, 1))
    except Exception:  # hostile or broken EXIF raises any exception, but the pixels are usable
        return 1


def _drawn(image: Image.Image) -> tuple[int, int, int, int] | None:
    """The part of a GIF that its first frame draws; None if the frame covers the whole picture."""
    if image.format != "GIF" or not isinstance(image, ImageFile.ImageFile) or not image.tile:
        return None
    box = image.tile[0][1]
    return None if box is None or box == (0, 0, *image.size) else box


def _bare_outside(image: Image.Image, box: tuple[int, int, int, int] | None) -> Image.Image:
    """Makes the area outside the box transparent; Pillow fills it with the first colour of the palette."""
    if box is None:
        return image
    bare = Image.new("RGBA", image.size, (0, 0, 0, 0))
    bare.paste(image.convert("RGBA").crop(box), box)
    return bare


def _eight_bits(image: Image.Image) -> Image.Image:
    """Scales wider values to eight bits; Pillow's own conversion would clip them."""
    key = image.info.get("transparency")
    if image.mode == "1" and key is not None:
        image = image.convert("L")
        image.info["transparency"] = key and _OPAQUE
    if image.mode == "RGB" and isinstance(key, tuple) and max(key) > _OPAQUE:
        image.info["transparency"] = tuple(value >> 8 for value in key)  # scaled like the pixels
    if image.mode != "I" and not image.mode.startswith("I;16") and image.mode != "F":
        return image
    values = np.asarray(image)
    if image.mode == "F" or values.min() < 0 or values.max() > 0xFFFF:
        raise ValueError(f"values from {values.min():g} to {values.max():g} without a known range")
    grey = ((values.astype(np.uint32) + 128) // 257).astype(np.uint8)
    if key is None:
        return Image.fromarray(grey)
    alpha = np.where(values == key, 0, _OPAQUE).astype(np.uint8)
    return Image.merge("LA", (Image.fromarray(grey), Image.fromarray(alpha)))


def _over_white(image: Image.Image) -> Seen:
    if not image.has_transparency_data:
        return Seen(image if image.mode == "RGB" else image.convert("RGB"), False)
    image = image.convert("RGBA")
    alpha = image.getchannel("A")
    if alpha.getextrema()[0] == _OPAQUE:
        return Seen(image.convert("RGB"), False)
    white = Image.new("RGB", image.size, "white")
    white.paste(image.convert("RGB"), mask=alpha)
    return Seen(white, True)
