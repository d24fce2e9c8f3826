"""A frozen encoder reads many items, a few at a time: what prep stores, and what live states are.

U items, K kept states, D width.
"""

from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from typing import Any

import torch
from torch import Tensor

from toolkit.backbones.batching import by_length
from toolkit.backbones.encoder import Encoder, Inputs

BATCH_SIZE = 128
TOKENS_A_THREAD = 1024  # a CPU is fastest with what its caches hold (benchmarks/encode.py)
TOKENS_ON_GPU = 8192

OnBroken = Callable[[int, ValueError], None]
Compute = Callable[[Inputs], Any]  # of a batch: the states of each of its members


class FrozenEncoder:
    """Freezes an encoder, puts it into evaluation mode and runs it without a graph.

    Args:
        encoder: to freeze; only this class does so.
        batch_size: images encoded at a time, which bounds memory; every frame of a clip is an image.
        batch_tokens: tokens of texts encoded at a time, padding counted; by default 8192 on a GPU, 1024 per
            thread on a CPU.
    """

    def __init__(
        self, encoder: Encoder, *, batch_size: int = BATCH_SIZE, batch_tokens: int | None = None
    ) -> None:
        self.encoder = encoder.requires_grad_(False).eval()
        self.batch_size = batch_size
        self.batch_tokens = batch_tokens

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
            on_broken: called with the row of an item that has an image which cannot be decoded, and with the
                reason; the item is left out. By default the error is raised.

        Raises:
            ValueError: if an image cannot be decoded, and there is no `on_broken`.
        """
        if not self.encoder.prepare.splits_clips(payloads):
            if payloads:
                yield from self._encoded(self._readable(payloads, on_broken), self.encoder)
            return
        for row, frames in self._clips(payloads, on_broken, self.encoder):
            yield [row], torch.stack(frames).mean(dim=0, keepdim=True)

    def tokens(
        self, payloads: Sequence[Any], layer: int, *, on_broken: OnBroken | None = None
    ) -> Iterator[tuple[int, Tensor]]:
        """States of all tokens of each payload after a layer: its row, and (S, D) without padding.

        Args:
            payloads: see `encode`. Of a clip whose frames an image encoder reads one by one, the tokens of all frames
                follow each other.
            layer: index of the state; 0 is the embedding output.
            on_broken: see `batches`.

        Raises:
            ValueError: if an image cannot be decoded, and there is no `on_broken`.
        """

        def compute(inputs: Inputs) -> list[Tensor]:
            hidden = self.encoder.hidden(inputs)
            states, mask = hidden.states[layer], hidden.mask
            if mask is None:
                return list(states)
            return [
                one[real] for one, real in zip(states, mask.to(states.device) != 0, strict=True)
            ]

        if self.encoder.prepare.splits_clips(payloads):
            for row, frames in self._clips(payloads, on_broken, compute):
                yield row, torch.cat(frames)
        elif payloads:
            for rows, states in self._encoded(self._readable(payloads, on_broken), compute):
                yield from zip(rows, states, strict=True)

    def _clips(
        self, payloads: Sequence[Any], on_broken: OnBroken | None, compute: Compute
    ) -> Iterator[tuple[int, list[Tensor]]]:
        """Row and states of every frame of each clip."""
        readable = self._readable(payloads, on_broken)
        frames = (((row, len(clip)), frame) for row, clip in readable for frame in clip)
        states = (
            pair
            for labels, batch in self._encoded(frames, compute)
            for pair in zip(labels, batch, strict=True)
        )
        for (row, length), first in states:
            yield row, [first, *(state for _, state in islice(states, length - 1))]

    def _readable(
        self, payloads: Sequence[Any], on_broken: OnBroken | None
    ) -> Iterator[tuple[int, Any]]:
        """Row and tokens or pixels of every payload that can be decoded, read only when needed."""
        read = self.encoder.prepare.preparation.read
        if self.encoder.modality == "text":  # one call for all, which tokenizers do fastest
            yield from enumerate(read(payloads))
            return
        splits = self.encoder.prepare.splits_clips(payloads)
        for row, payload in enumerate(payloads):
            try:
                pixels = read(payload) if splits else read([payload])[0]
            except ValueError as error:
                if on_broken is None:
                    raise
                on_broken(row, error)
            else:
                yield row, pixels

    @torch.no_grad()
    def _encoded(
        self, items: Iterator[tuple[Any, Any]], compute: Compute
    ) -> Iterator[tuple[list[Any], Any]]:
        """Batches of labelled tokens or pixels: the labels of each batch, and the states of each of its members."""
        preparation = self.encoder.prepare.preparation
        for batch in self._batched(items):
            inputs = Inputs(preparation.collate([read for _, read in batch]))
            yield [label for label, _ in batch], compute(inputs)

    def _batched(self, items: Iterator[tuple[Any, Any]]) -> Iterator[list[tuple[Any, Any]]]:
        if self.encoder.modality == "text":
            texts = list(items)
            lengths = self.encoder.prepare.preparation.lengths([text for _, text in texts])
            if lengths is not None:
                budget = self.batch_tokens or self._token_budget()
                yield from ([texts[i] for i in together] for together in by_length(lengths, budget))
                return
            items = iter(texts)
        size = max(self.batch_size // (self.encoder.frames or 1), 1)
        while batch := list(islice(items, size)):
            yield batch

    def _token_budget(self) -> int:
        if self.encoder.device.type != "cpu":
            return TOKENS_ON_GPU
        return min(TOKENS_A_THREAD * torch.get_num_threads(), TOKENS_ON_GPU)
