"""JPEG bytes to pixels, the input of image encoders, and back."""

import cv2
import numpy as np


def decode_jpeg(data: bytes) -> np.ndarray:
    """Decodes JPEG bytes to an RGB array, (height, width, 3) uint8.

    Raises:
        ValueError: if the bytes are not an image.
    """
    image = cv2.imdecode(np.frombuffer(data, dtype=np.uint8), cv2.IMREAD_COLOR) if data else None
    if image is None:
        raise ValueError(f"{len(data)} bytes that are not a readable image")
    return cv2.cvtColor(image, cv2.COLOR_BGR2RGB)


def encode_jpeg(pixels: np.ndarray, *, quality: int = 90) -> bytes:
    """Encodes an RGB array, (height, width, 3) uint8, as a JPEG.

    Args:
        pixels: the picture.
        quality: of the JPEG, 0 to 100.
    """
    options = [cv2.IMWRITE_JPEG_QUALITY, quality]
    _, encoded = cv2.imencode(".jpg", cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR), options)
    return encoded.tobytes()
