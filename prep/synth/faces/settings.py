"""The settings of a synthetic dump of faces; the command line fills them."""

from dataclasses import dataclass
from typing import Literal

from toolkit.arguments import one_of, whole_number
from toolkit.errors import UserError

Like = Literal["bp4d", "disfa"]
FOLDS = 3


@dataclass(frozen=True)
class SynthFaces:
    """What a synthetic dump of faces holds.

    Args:
        like: dataset whose AUs, layout and look the dump has. Dumps like bp4d and disfa have different people.
        subjects: how many subjects, at least 3: one for each fold.
        frames: how many frames per subject, at least 4.
        size_px: side of a picture, in pixels.
        seed: any integer from 0.
        shortcut: 0 to 1, strength of an identity shortcut. 0: each AU is equally frequent in all subjects. 1: each AU is
            nearly always or nearly never active, drawn for each subject, so that who a person is tells the labels.
        occlusions: share of pictures in which an object hides a part of the face.
        missing: share of labels that are listed as 9 (missing).
    """

    like: Like = "bp4d"
    subjects: int = 12
    frames: int = 80
    size_px: int = 112
    seed: int = 0
    shortcut: float = 0.0
    occlusions: float = 0.0
    missing: float = 0.0

    def __post_init__(self) -> None:
        one_of(self.like, Like, name="like")
        for name, least in (("subjects", FOLDS), ("frames", 4), ("size_px", 32), ("seed", 0)):
            whole_number(getattr(self, name), name=name, least=least)
        for name in ("shortcut", "occlusions", "missing"):
            if not 0 <= getattr(self, name) <= 1:
                raise UserError(f"{name} is {getattr(self, name)}; it must be between 0 and 1")
