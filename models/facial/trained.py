"""A trained network with what its model folder records: what prediction and evaluation need of it.

B crops of a batch, A action units (AUs), S pixels of a crop's side.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from models.facial.augment import View
from models.facial.crop import CropRecipe
from models.facial.network import VLFAU
from models.facial.predictions import Prediction
from models.facial.recognise import as_input
from toolkit.facs import Facs


@dataclass(frozen=True)
class FaceRecord:
    """What a model folder records beside the network.

    Args:
        view: how pictures become the input of the network.
        recipe: how faces are cropped from pictures.
        dataset: name and digests of the dataset of training (`models.facial.fold.describe_faces`).
        fold: the fold that was not trained on.
        seen: the training subjects, held-out ones included.
        rates: (A,) share of the labelled training faces in which an AU is active.
        temperatures: (A,) divisors of the logits, fitted on training subjects.
        thresholds: (A,) calibrated probability from which an AU counts as active.
        fitted_thresholds: (A,) thresholds of the highest F1 on training subjects.
        calibrated_on: the subjects of these fits, for reports.
        beams: of generated texts; 1 is greedy search. Records of version 0.2.0 lack it.
    """

    view: View
    recipe: CropRecipe
    dataset: Mapping[str, str]
    fold: int
    seen: tuple[str, ...]
    rates: tuple[float, ...]
    temperatures: tuple[float, ...] = ()
    thresholds: tuple[float, ...] = ()
    fitted_thresholds: tuple[float, ...] = ()
    calibrated_on: str = ""
    beams: int = 1

    def as_dict(self) -> dict[str, Any]:
        """The record as a JSON object."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "FaceRecord":
        """The record of a JSON object.

        Raises:
            TypeError: if a key is missing or unknown.
        """
        lists = {key: tuple(value) for key, value in values.items() if isinstance(value, list)}
        record = cls(**{**values, **lists})
        return replace(record, view=View(**values["view"]), recipe=CropRecipe(**values["recipe"]))


@dataclass
class TrainedFaces:
    """A trained network (`models.facial.predictions.FaceNetwork`).

    Args:
        network: in evaluation mode.
        record: what the model folder records.
        facs: names and phrases that it was trained with.
    """

    network: VLFAU
    record: FaceRecord
    facs: Facs

    @property
    def aus(self) -> tuple[int, ...]:
        """(A,) numbers of the AUs in FACS."""
        return self.network.aus

    @property
    def thresholds(self) -> tuple[float, ...]:
        """(A,) smallest calibrated probability at which each AU counts as active."""
        return self.record.thresholds

    @property
    def recipe(self) -> CropRecipe:
        """How faces are cropped from pictures."""
        return self.record.recipe

    @property
    def has_au_texts(self) -> bool:
        """Whether it describes AUs."""
        return self.network.au_language is not None

    @property
    def has_face_texts(self) -> bool:
        """Whether it describes faces."""
        return self.network.face_language is not None

    def calibrated(self, logits: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
        """(N, A) probabilities σ(z / T)."""
        scaled = np.asarray(logits, np.float64) / np.asarray(self.record.temperatures)
        return np.asarray(np.exp(-np.logaddexp(0, -scaled)))

    @property
    def active_from(self) -> Tensor:
        """(A,) the logits at which the calibrated probability is the threshold."""
        # In float64, because thresholds close to 1 are 1 in float32, whose logit is infinite.
        thresholds, temperatures = (
            torch.tensor(values, dtype=torch.float64)
            for values in (self.thresholds, self.record.temperatures)
        )
        return (thresholds.logit() * temperatures).float()

    def predict(self, crops: NDArray[np.uint8]) -> Prediction:
        """The prediction for a batch.

        Args:
            crops: (B, S, S, 3) RGB, with S = `recipe.size_px`.
        """
        inputs = np.stack([self.record.view.plain(crop) for crop in crops])
        images = torch.from_numpy(inputs).permute(0, 3, 1, 2)
        device = next(self.network.parameters()).device
        with torch.no_grad():
            described = self.network.describe(
                as_input(images, device),
                beams=self.record.beams,
                active_from=self.active_from.to(device),
            )
        logits = described.output.logits.float().cpu().numpy()
        return Prediction(self.calibrated(logits), described.au_texts, described.face_texts)
