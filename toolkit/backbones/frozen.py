"""A frozen encoder reads many items, a few at a time: what prep stores, and what live states are.

U items, K kept states, D width.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from toolkit.backbones.encoder import Encoder, Inputs
from toolkit.backbones.reading import OnBroken, Read, Reader
from toolkit.prefetch import Prefetched, Waiting
from toolkit.workers import cpu_count

BATCH_SIZE = 128
TOKENS_A_THREAD = 1024  # a CPU is fastest with what its caches hold (benchmarks/encode.py)
TOKENS_ON_GPU = 8192

Compute = Callable[[Inputs], Any]  # of a batch: the states of each of its members


class FrozenEncoder:
    """Freezes an encoder, puts it into evaluation mode and runs it without a graph.

    Args:
        encoder: to freeze; only this class does so.
        batch_size: images encoded at a time, which bounds memory; every frame of a clip is an image.
        batch_tokens: tokens of texts encoded at a time, padding counted; by default 8192 on a GPU, 1024 per
            thread on a CPU.
        workers: threads that decode and resize images ahead of the encoder; 0 for one per CPU core. States do not
            depend on it.

    Attributes:
        waiting: time in which the encoder waited for its inputs, and in which it computed and its states were used.
    """

    def __init__(
        self,
        encoder: Encoder,
        *,
        batch_size: int = BATCH_SIZE,
        batch_tokens: int | None = None,
        workers: int = 0,
    ) -> None:
        self.encoder = encoder.requires_grad_(False).eval()
        self.batch_size = batch_size
        self.batch_tokens = batch_tokens
        self.workers = workers or cpu_count()
        self.waiting = Waiting[Read]()

    def encode(self, payloads: Sequence[Any]) -> Tensor:
        """Kept hidden states (U, K, D), float32, on the encoder's device.

        Args:
            payloads: strings for a text encoder; JPEG bytes, or lists of them, for an image encoder; lists of
                JPEG bytes for a video encoder. An image encoder's states of a list (the frames of a clip) are
                the mean over its images.

        Raises:
            ValueError: if an image cannot be decoded.
        """
        encoder = self.encoder
        states = torch.empty(len(payloads), encoder.layers, encoder.width, device=encoder.device)
        for rows, encoded in self.batches(payloads):
            states[rows] = encoded
        return states

    def batches(
        self, payloads: Sequence[Any], *, on_broken: OnBroken | None = None
    ) -> Iterator[tuple[list[int], Tensor]]:
        """The same, batch by batch: rows of `payloads`, and their states.

        Images come in their order, texts sorted by length. Every image is decoded once.

        Args:
            payloads: see `encode`.
            on_broken: see `Reader.batches`.

        Raises:
            ValueError: if an image cannot be decoded, and there is no `on_broken`.
        """
        return self.states(Prefetched(self.reader.batches(payloads, on_broken=on_broken)))

    def states(self, batches: Iterable[Read]) -> Iterator[tuple[list[int], Tensor]]:
        """Rows and their kept states, (B, K, D), of batches of `reader`; of a clip's frames, the mean of their states."""
        begun: list[Tensor] = []
        for read, states in self._computed(batches, self.encoder):
            if read.frames[0] is None:
                yield read.rows, states
            for row, frames in _whole_clips(read, states, begun):
                yield [row], torch.stack(frames).mean(dim=0, keepdim=True)

    def tokens(
        self, payloads: Sequence[Any], layer: int, *, on_broken: OnBroken | None = None
    ) -> Iterator[tuple[int, Tensor]]:
        """States of all tokens of each payload after a layer: its row, and (S, D) without padding.

        Args:
            payloads: see `encode`. Of a clip whose frames an image encoder reads one by one, the tokens of all frames
                follow each other.
            layer: index of the state; 0 is the embedding output.
            on_broken: see `Reader.batches`.

        Raises:
            ValueError: if an image cannot be decoded, and there is no `on_broken`.
        """
        return self.token_states(
            Prefetched(self.reader.batches(payloads, on_broken=on_broken)), layer
        )

    def token_states(self, batches: Iterable[Read], layer: int) -> Iterator[tuple[int, Tensor]]:
        """The row of each item, and what `tokens` returns of it, of batches of `reader`."""

        def compute(inputs: Inputs) -> list[Tensor]:
            hidden = self.encoder.hidden(inputs)
            states, mask = hidden.states[layer], hidden.mask
            if mask is None:
                return list(states)
            return [
                one[real] for one, real in zip(states, mask.to(states.device) != 0, strict=True)
            ]

        begun: list[Tensor] = []
        for read, states in self._computed(batches, compute):
            if read.frames[0] is None:
                yield from zip(read.rows, states, strict=True)
            for row, frames in _whole_clips(read, states, begun):
                yield row, torch.cat(frames)

    @property
    def reader(self) -> Reader:
        """Prepares payloads in threads."""
        return Reader(
            self.encoder.prepare,
            self.encoder.modality,
            images=self.batch_size,
            tokens=self.batch_tokens or self._token_budget(),
            workers=self.workers,
        )

    @torch.no_grad()
    def _computed(self, batches: Iterable[Read], compute: Compute) -> Iterator[tuple[Read, Any]]:
        """Each batch, and the states of each of its members."""
        for read in self.waiting.over(batches):
            yield read, compute(read.inputs)

    def _token_budget(self) -> int:
        if self.encoder.device.type != "cpu":
            return TOKENS_ON_GPU
        return min(TOKENS_A_THREAD * torch.get_num_threads(), TOKENS_ON_GPU)


def _whole_clips(
    read: Read, states: Iterable[Tensor], begun: list[Tensor]
) -> Iterator[tuple[int, list[Tensor]]]:
    """Row of each clip that ends in a batch, and the states of its frames; none of a batch of whole items.

    Args:
        read: the batch.
        states: of its members.
        begun: states of the frames of a clip that began in an earlier batch; changed to those that this batch leaves.
    """
    for row, count, state in zip(read.rows, read.frames, states, strict=True):
        if count is None:
            return
        begun.append(state)
        if len(begun) == count:
            yield row, begun.copy()
            begun.clear()
