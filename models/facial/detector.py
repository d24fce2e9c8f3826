"""The detectors by name."""

from collections.abc import Callable

from models.facial.centerface import CenterFace
from models.facial.face import Detector, WholePicture
from toolkit.errors import UserError

DETECTORS: dict[str, Callable[[], Detector]] = {"centerface": CenterFace, "none": WholePicture}


def load_detector(name: str) -> Detector:
    """Loads a detector.

    Args:
        name: a key of `DETECTORS`; `none` for pictures that are already crops of faces.

    Raises:
        UserError: if the name is unknown, or the package of the detector is not installed.
    """
    if name not in DETECTORS:
        raise UserError(f"detector {name!r} is unknown; use one of {', '.join(DETECTORS)}")
    return DETECTORS[name]()
