"""Agreement of texts with predictions: whether the words state what the classifiers state.

The FACS file parses texts: `Facs.stated` finds its phrases in them.

B faces, A action units (AUs).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from toolkit.facs import Facs


@dataclass(frozen=True)
class Agreement:
    """Shares, in [0, 1]; nan for texts that were not generated.

    Args:
        per_au: (A,) share of faces whose text about an AU states the predicted state of this AU and nothing else.
        au_texts: mean of `per_au`.
        face_texts: share of faces whose text names exactly the AUs that are predicted as active.
        named_precision: share of the named AUs that are predicted as active; nan if none is named.
        named_recall: share of the AUs predicted as active that are named; nan if none is active.
    """

    per_au: NDArray[np.float64]
    au_texts: float
    face_texts: float
    named_precision: float
    named_recall: float


def agreement(
    facs: Facs,
    aus: Sequence[int],
    active: ArrayLike,
    *,
    au_texts: Sequence[Sequence[str]] | None = None,
    face_texts: Sequence[str] | None = None,
) -> Agreement:
    """Compares texts with predictions.

    Args:
        facs: the file that the texts were learned from.
        aus: (A,) numbers of the AUs in FACS.
        active: (B, A) whether each AU is predicted as active.
        au_texts: B lists of A texts.
        face_texts: B texts.

    Raises:
        ValueError: if the numbers of texts, faces and AUs do not match.

    >>> from toolkit.facs import facs
    >>> agreement(facs(), [12], [[True]], face_texts=["In this face, the lip corners are pulled up."]).face_texts
    1.0
    """
    predicted = np.asarray(active, dtype=bool)
    if predicted.ndim != 2 or predicted.shape[1] != len(aus):
        raise ValueError(f"predictions of shape {predicted.shape}; expected (faces, {len(aus)})")
    for texts in (au_texts, face_texts):
        if texts is not None and len(texts) != len(predicted):
            raise ValueError(f"texts of {len(texts)} faces, but predictions of {len(predicted)}")
    per_au = np.full(len(aus), np.nan)
    exact = precision = recall = float("nan")
    if au_texts is not None:
        of_faces = zip(au_texts, predicted.tolist(), strict=True)
        agreeing = [_agreeing(facs, aus, row, states) for row, states in of_faces]
        per_au = np.mean(agreeing, axis=0)
    if face_texts is not None:
        each = zip(face_texts, predicted.tolist(), strict=True)
        exact = float(np.mean([_names(facs, aus, text, states) for text, states in each]))
        stated = [facs.stated(text) for text in face_texts]
        named = np.array([[states.get(au, False) for au in aus] for states in stated])
        both = int((named & predicted).sum())
        precision, recall = _share(both, int(named.sum())), _share(both, int(predicted.sum()))
    return Agreement(per_au, float(per_au.mean()), exact, precision, recall)


def _agreeing(
    facs: Facs, aus: Sequence[int], texts: Sequence[str], active: Sequence[bool]
) -> list[bool]:
    """(A,) whether the text about each AU states the state of this AU alone."""
    each = zip(aus, texts, active, strict=True)
    return [facs.stated(text) == {au: is_active} for au, text, is_active in each]


def _names(facs: Facs, aus: Sequence[int], text: str, active: Sequence[bool]) -> bool:
    """Whether the text about a face names its active AUs alone; without any, it must state that the face is neutral."""
    expected = {au: True for au, is_active in zip(aus, active, strict=True) if is_active}
    neutral = facs.face_text([]).lower() in text.lower()
    return facs.stated(text) == expected and neutral == (not expected)


def _share(count: int, of: int) -> float:
    return count / of if of else float("nan")
