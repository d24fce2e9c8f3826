"""Frames of a clip: metadata of the container (`info`), choice of frames (`sampling`) and decoding (`backend`)."""

import importlib
from typing import cast

from prep.pictures.video.backend import Backend
from prep.pictures.video.frames import Frames
from prep.pictures.video.info import VideoInfo, probe
from toolkit.errors import UserError

__all__ = ["BACKENDS", "Backend", "Frames", "VideoInfo", "load", "probe"]

# Backends and the distributions that they need.
BACKENDS = {
    "pyav": "av",
    "decord": "decord",
    "opencv": "opencv-python",
    "torchcodec": "torchcodec",
}


def load(name: str) -> Backend:
    """Loads the backend with a name, a key of `BACKENDS`.

    Raises:
        UserError: if its library is not installed or cannot be loaded.
    """
    try:
        return cast(Backend, importlib.import_module(f"prep.pictures.video.{name}"))
    except (ImportError, OSError, RuntimeError) as error:  # torchcodec without FFmpeg: RuntimeError
        reason = str(error).strip().partition("\n")[0]
        others = ", ".join(other for other in BACKENDS if other != name)
        raise UserError(
            f"media.backend is {name}, which cannot be loaded ({reason}); install its library, or use "
            f"one of {others}"
        ) from None
