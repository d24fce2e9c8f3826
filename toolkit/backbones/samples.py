"""A smallest item for an encoder, to look at how it computes."""

import io
from typing import Any

from PIL import Image

from toolkit.towers import Modality


def sample_payload(modality: Modality, frames: int | None) -> Any:
    """A text, an image, or a clip of equal frames.

    Args:
        modality: of the encoder.
        frames: how many a video encoder reads of a clip; None for another.
    """
    if modality == "text":
        return "a few words"
    file = io.BytesIO()
    Image.new("RGB", (64, 64), "gray").save(file, "JPEG")
    return file.getvalue() if frames is None else [file.getvalue()] * frames
