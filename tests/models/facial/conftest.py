"""A photograph with one face, and clips made from it."""

from importlib.util import find_spec
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from models.facial.centerface import CenterFace


@pytest.fixture(scope="session")
def photograph() -> np.ndarray:
    """(384, 384, 3) RGB: Eileen Collins, NASA, public domain; from scikit-image's wheel, without importing it."""
    (package,) = find_spec("skimage").submodule_search_locations
    image = cv2.imread(str(Path(package) / "data" / "astronaut.png"))
    return np.ascontiguousarray(image[:384, 64:448, ::-1])


@pytest.fixture(scope="session")
def centerface() -> CenterFace:
    return CenterFace()


@pytest.fixture
def write_image(tmp_path):
    def write(name: str, pixels: np.ndarray) -> Path:
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        assert cv2.imwrite(str(path), pixels[..., ::-1])
        return path

    return write


@pytest.fixture
def write_video(tmp_path):
    """Writes a lossless video of 10 frames per second."""

    def write(name: str, pictures) -> Path:
        with av.open(str(tmp_path / name), "w") as container:
            stream = container.add_stream("ffv1", rate=10, options={"threads": "1"})
            height, width = pictures[0].shape[:2]
            stream.width, stream.height, stream.pix_fmt = width, height, "bgr0"
            for pixels in pictures:
                frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
                container.mux(stream.encode(frame))
            container.mux(stream.encode(None))
        return tmp_path / name

    return write
