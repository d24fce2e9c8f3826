"""From frames to rows: detects, tracks and crops faces, and predicts their action units (AUs) in batches.

B crops of a batch, A AUs, S pixels of a crop's side.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from models.facial.crop import CropRecipe
from models.facial.face import Detector, Face
from models.facial.frames import Frame, Pixels
from models.facial.table import table_schema
from models.facial.tracking import Tracker
from toolkit.errors import UserError
from toolkit.facs import column


class Prediction(NamedTuple):
    """The prediction of a network for a batch of crops.

    Args:
        probabilities: (B, A) that each AU is active.
        au_texts: B lists of A texts; None if the network does not describe AUs.
        face_texts: B texts; None if the network does not describe faces.
    """

    probabilities: NDArray[np.floating[Any]]
    au_texts: Sequence[Sequence[str]] | None = None
    face_texts: Sequence[str] | None = None


class FaceNetwork(Protocol):
    """A trained network with what its checkpoint records. Crops are independent: their batch does not matter."""

    @property
    def aus(self) -> Sequence[int]:
        """(A,) numbers of the AUs in FACS."""
        ...

    @property
    def thresholds(self) -> Sequence[float]:
        """(A,) smallest probability at which each AU counts as active."""
        ...

    @property
    def recipe(self) -> CropRecipe:
        """How faces were cropped for training."""
        ...

    @property
    def has_au_texts(self) -> bool:
        """Whether predictions have `au_texts`."""
        ...

    @property
    def has_face_texts(self) -> bool:
        """Whether predictions have `face_texts`."""
        ...

    def predict(self, crops: NDArray[np.uint8]) -> Prediction:
        """The prediction for a batch.

        Args:
            crops: (B, S, S, 3) RGB.
        """
        ...


@dataclass
class _Seen:
    """A frame whose faces wait for the network.

    Args:
        columns: the columns that all rows of the frame share.
        faces: F faces.
        face_ids: F numbers.
        crops: F crops.
    """

    columns: dict[str, Any]
    faces: list[Face] = field(default_factory=list)
    face_ids: list[int] = field(default_factory=list)
    crops: list[Pixels] = field(default_factory=list)


def schema_of(network: FaceNetwork) -> pa.Schema:
    """The columns of the rows that `predictions` yields with a network."""
    return table_schema(
        network.aus, has_au_texts=network.has_au_texts, has_face_texts=network.has_face_texts
    )


def predictions(
    frames: Iterable[Frame],
    detector: Detector,
    network: FaceNetwork,
    *,
    batch_size: int = 32,
    tracker: Tracker | None = None,
) -> Iterator[dict[str, Any]]:
    """A row per face and frame, in the order of the frames and of the numbers of the faces.

    A frame without a face has one row. At most `batch_size` frames wait for the network, and only their crops are kept.

    Args:
        frames: see `models.facial.frames.read_frames`.
        detector: finds faces.
        network: predicts AUs.
        batch_size: largest B.
        tracker: assigns numbers to faces; by default a new one.

    Yields:
        Rows with the columns of `schema_of(network)`; absent ones are null.

    Raises:
        UserError: if `batch_size` is below 1.
    """
    if batch_size < 1:
        raise UserError(f"batch_size is {batch_size}; it must be at least 1")
    recipe = network.recipe.without_margin() if detector.finds_crops else network.recipe
    tracker = tracker or Tracker()
    waiting: list[_Seen] = []
    for frame in frames:
        waiting.append(_seen(frame, detector, tracker, recipe))
        if len(waiting) >= batch_size or sum(len(s.crops) for s in waiting) >= batch_size:
            yield from _rows(waiting, network, batch_size)
            waiting = []
    yield from _rows(waiting, network, batch_size)


def _seen(frame: Frame, detector: Detector, tracker: Tracker, recipe: CropRecipe) -> _Seen:
    columns = {"input": frame.source, "frame": frame.number, "timestamp": frame.timestamp}
    if frame.is_alone:
        tracker.end_tracks()
    if frame.pixels is None:
        tracker.update([])
        return _Seen(columns | {"status": "corrupt"})
    pixels = frame.pixels
    faces = detector.faces(pixels)
    pairs = sorted(zip(tracker.update(faces), faces, strict=True))
    return _Seen(
        columns | {"status": "ok" if faces else "empty"},
        [face for _, face in pairs],
        [face_id for face_id, _ in pairs],
        [recipe.crop(pixels, face) for _, face in pairs],
    )


def _rows(
    waiting: Sequence[_Seen], network: FaceNetwork, batch_size: int
) -> Iterator[dict[str, Any]]:
    predicted = _predicted([crop for seen in waiting for crop in seen.crops], network, batch_size)
    for seen in waiting:
        if not seen.faces:
            yield seen.columns | {"success": 0}
        for face_id, face in zip(seen.face_ids, seen.faces, strict=True):
            box = dict(zip(("face_x", "face_y", "face_w", "face_h"), face, strict=False))
            yield {
                **seen.columns,
                "face_id": face_id,
                "success": 1,
                **box,
                "confidence": face.confidence,
                **next(predicted),
            }


def _predicted(
    crops: Sequence[Pixels], network: FaceNetwork, batch_size: int
) -> Iterator[dict[str, Any]]:
    """The columns of the network for each crop."""
    for start in range(0, len(crops), batch_size):
        batch = np.stack(crops[start : start + batch_size])
        prediction = network.predict(batch)
        for row, probabilities in enumerate(prediction.probabilities):
            values: dict[str, Any] = {}
            for au, p, threshold in zip(
                network.aus, probabilities, network.thresholds, strict=True
            ):
                values |= {f"{column(au)}_p": float(p), f"{column(au)}_c": int(p >= threshold)}
            if prediction.au_texts is not None:
                texts = zip(network.aus, prediction.au_texts[row], strict=True)
                values |= {f"{column(au)}_text": text for au, text in texts}
            if prediction.face_texts is not None:
                values["face_text"] = prediction.face_texts[row]
            yield values
