"""The language branches of VL-FAU (arXiv 2408.00644): a text per action unit (AU), and a text about the whole face.

B faces, A AUs, D width, h × w cells, L tokens, V words.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from models.facial.decoder import TextDecoder
from models.facial.states import StateEmbedding
from models.facial.vocabulary import FACE, Vocabulary


def cells_of(maps: Tensor) -> Tensor:
    """The cells of maps as tokens, (..., D, h, w) -> (..., h · w, D)."""
    return maps.flatten(-2).mT.contiguous()


class AULanguage(nn.Module):
    """The local branch: a decoder describes each AU from its refined map.

    Conditioned, it attends to X_a + s_a in place of X_a, with the vector s_a of the AU's state in every cell.

    Args:
        vocabulary: tokens of the texts, with the AUs.
        conditioned: whether the states of the AUs condition the texts (`models.facial.states`).
        shared: whether all AUs share one decoder, which the first token tells which AU it describes; otherwise each AU
            has its own.
        width: D.
        layers: layers of a decoder.
        heads: attention heads of a decoder.
        dropout: dropout probability of a decoder.

    Raises:
        ValueError: if D is not divisible by `heads`.
    """

    def __init__(
        self,
        vocabulary: Vocabulary,
        *,
        conditioned: bool,
        shared: bool,
        width: int,
        layers: int,
        heads: int,
        dropout: float,
    ) -> None:
        super().__init__()
        self.register_buffer("starts", vocabulary.au_starts, persistent=False)
        self.starts: Tensor
        self.states = StateEmbedding(len(vocabulary.aus), width=width) if conditioned else None
        self.decoders: Any = nn.ModuleList(
            TextDecoder(
                len(vocabulary),
                width=width,
                layers=layers,
                heads=heads,
                max_tokens=vocabulary.au_tokens,
                dropout=dropout,
            )
            for _ in range(1 if shared else len(vocabulary.aus))
        )

    def forward(self, maps: Tensor, targets: Tensor, states: Tensor) -> Tensor:
        """Logits of all tokens under teacher forcing.

        Args:
            maps: (B, A, D, h, w).
            targets: (B, A, L).
            states: (B, A) of 0, 1 and 9 (not told).

        Returns:
            (B, A, L, V).
        """
        return torch.cat(
            [
                decoder(*inputs, part.flatten(0, 1)).unflatten(0, part.shape[:2])
                for decoder, inputs, part in zip(
                    self.decoders, self._inputs(maps, states), self._split(targets), strict=True
                )
            ],
            dim=1,
        )

    def generate(self, maps: Tensor, states: Tensor, *, beams: int = 1) -> list[Tensor]:
        """Maps (B, A, D, h, w) and states (B, A) -> per AU, tokens (B, L) of its texts; padded to the longest of a decoder."""
        texts: list[Tensor] = []
        for decoder, (cells, starts) in zip(self.decoders, self._inputs(maps, states), strict=True):
            tokens = decoder.generate(cells, starts, beams=beams)
            texts += tokens.unflatten(0, (len(maps), -1)).unbind(1)
        return texts

    def _inputs(self, maps: Tensor, states: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
        """Per decoder: the cells of its AUs, (B · AUs, h · w, D), and the first tokens, (B · AUs)."""
        if self.states is not None:
            maps = maps + self.states(states)[..., None, None]
        starts = self.starts.expand(len(maps), -1)
        for part, first in zip(self._split(maps), self._split(starts), strict=True):
            yield cells_of(part).flatten(0, 1), first.flatten()

    def _split(self, of_aus: Tensor) -> Sequence[Tensor]:
        """(B, A, ...) by decoder."""
        return of_aus.chunk(len(self.decoders), dim=1)


class FaceLanguage(nn.Module):
    """The global branch: a decoder describes the face from the map of the stem.

    Conditioned, it attends to the cells of X and to the vectors s_1, …, s_A of the AUs' states.

    Args:
        vocabulary: tokens of the texts.
        conditioned: whether the states of the AUs condition the text (`models.facial.states`).
        width: D.
        layers: layers of the decoder.
        heads: attention heads of the decoder.
        dropout: dropout probability of the decoder.

    Raises:
        ValueError: if D is not divisible by `heads`.
    """

    def __init__(
        self,
        vocabulary: Vocabulary,
        *,
        conditioned: bool,
        width: int,
        layers: int,
        heads: int,
        dropout: float,
    ) -> None:
        super().__init__()
        self.states = StateEmbedding(len(vocabulary.aus), width=width) if conditioned else None
        self.decoder = TextDecoder(
            len(vocabulary),
            width=width,
            layers=layers,
            heads=heads,
            max_tokens=vocabulary.face_tokens,
            dropout=dropout,
        )

    def forward(self, stem: Tensor, targets: Tensor, states: Tensor) -> Tensor:
        """The stem's map (B, D, h, w), targets (B, L) and states (B, A) -> logits (B, L, V) under teacher forcing."""
        logits: Tensor = self.decoder(self._memory(stem, states), self._starts(stem), targets)
        return logits

    def generate(self, stem: Tensor, states: Tensor, *, beams: int = 1) -> Tensor:
        """The stem's map (B, D, h, w) and states (B, A) -> tokens (B, L)."""
        return self.decoder.generate(self._memory(stem, states), self._starts(stem), beams=beams)

    def _memory(self, stem: Tensor, states: Tensor) -> Tensor:
        """(B, S, D) what the decoder attends to."""
        cells = cells_of(stem)
        return cells if self.states is None else torch.cat([cells, self.states(states)], dim=1)

    def _starts(self, stem: Tensor) -> Tensor:
        return torch.full((len(stem),), FACE, device=stem.device)
