"""The texts that the decoders learn: what the FACS file (`toolkit.facs`) states of the labels of a face.

B faces, A action units (AUs), L tokens of a text about an AU, M tokens of a text about a face.
"""

from collections.abc import Sequence
from functools import cache
from itertools import combinations
from typing import NamedTuple

import torch
from torch import Tensor

from models.facial.vocabulary import IGNORED, Vocabulary, pad
from toolkit.facs import ACTIVE, MISSING, Facs


class TextTargets(NamedTuple):
    """Tokens that end a text's teacher forcing; -100 at padding and in masked texts.

    Args:
        aus: (B, A, L) texts about the AUs.
        faces: (B, M) texts about the faces.
    """

    aus: Tensor
    faces: Tensor


def vocabulary_of(facs: Facs, aus: Sequence[int]) -> Vocabulary:
    """The vocabulary of all texts about some AUs.

    The texts about a face with two active AUs, or with all, contain every word of such texts with every separator.

    Args:
        facs: names and phrases.
        aus: numbers of the AUs in FACS.
    """
    some = [(), *((au,) for au in aus), *combinations(aus, 2), tuple(aus)]
    return Vocabulary.of_texts(
        aus,
        au_texts=[facs.unit_text(au, active=active) for au in aus for active in (False, True)],
        face_texts=[facs.face_text(active) for active in some],
    )


class Texts:
    """Makes the targets of the decoders from labels, on the CPU.

    A text about an AU with a missing label is masked. Reconstruction: the text about a face is masked if any label is
    missing, because it would state that this AU is inactive.

    Args:
        facs: names and phrases.
        vocabulary: of the same file (`vocabulary_of`).

    Raises:
        ValueError: if the vocabulary lacks a word of a text about an AU.
    """

    def __init__(self, facs: Facs, vocabulary: Vocabulary) -> None:
        self.aus = vocabulary.aus
        states = [
            vocabulary.encode(facs.unit_text(au, active=active))
            for au in self.aus
            for active in (False, True)
        ]
        self._au_tokens = pad(states, IGNORED).unflatten(0, (-1, 2))  # (A, 2, L)

        @cache
        def face_tokens(active: tuple[int, ...]) -> list[int]:
            return vocabulary.encode(facs.face_text(active))

        self._face_tokens = face_tokens

    def targets(self, labels: Tensor) -> TextTargets:
        """The targets of faces.

        Args:
            labels: (B, A) of 0, 1 and 9 (missing).
        """
        missing, active = labels == MISSING, labels == ACTIVE
        chosen = self._au_tokens[torch.arange(len(self.aus)), active.long()]
        faces = [
            [IGNORED] if any(unknown) else self._face_tokens(self._named(row))
            for row, unknown in zip(active.tolist(), missing.tolist(), strict=True)
        ]
        return TextTargets(chosen.masked_fill(missing[..., None], IGNORED), pad(faces, IGNORED))

    def _named(self, active: list[bool]) -> tuple[int, ...]:
        return tuple(au for au, is_active in zip(self.aus, active, strict=True) if is_active)
