"""Frames of a clip: what its container says (`info`), which to take (`sampling`), who decodes them (`backend`)."""

import importlib
from typing import cast

from prep.pictures.video.backend import Backend
from prep.pictures.video.frames import Frames
from prep.pictures.video.info import VideoInfo, probe
from toolkit.errors import UserError

__all__ = ["BACKENDS", "Backend", "Frames", "VideoInfo", "load", "probe"]

# Each backend and the distribution that it comes with.
BACKENDS = {
    "pyav": "av",
    "decord": "decord",
    "opencv": "opencv-python",
    "torchcodec": "torchcodec",
}


def load(name: str) -> Backend:
    """The backend of a name, a key of `BACKENDS`.

    Raises:
        UserError: if its library is not installed or does not load here.
    """
    try:
        return cast(Backend, importlib.import_module(f"prep.pictures.video.{name}"))
    except (ImportError, OSError, RuntimeError) as error:  # torchcodec without FFmpeg: RuntimeError
        reason = str(error).strip().partition("\n")[0]
        others = ", ".join(other for other in BACKENDS if other != name)
        raise UserError(
            f"media.backend is {name}, which does not load here ({reason}); install what it needs, or use "
            f"one of {others}"
        ) from None
