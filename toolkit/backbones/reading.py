"""What a frozen encoder reads of many items: tokens and pixels in batches, prepared in threads.

B members of a batch: items, or single frames of clips.
"""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import Any, NamedTuple

from toolkit.backbones.batching import by_length
from toolkit.backbones.encoder import Inputs, Preparer
from toolkit.prefetch import in_order
from toolkit.towers import Modality

OnBroken = Callable[[int, ValueError], None]


class Member(NamedTuple):
    """One member of a batch.

    Args:
        row: index of its payload.
        frames: number of frames of its clip, if it is a single frame; None if it is a whole item.
        read: its tokens or pixels.
    """

    row: int
    frames: int | None
    read: Any


class Read(NamedTuple):
    """A batch that an encoder can compute.

    Args:
        rows: (B,) index of the payload of each member.
        frames: (B,) number of frames of the clip of each member; None for whole items.
        inputs: tensors, on the CPU.
    """

    rows: list[int]
    frames: list[int | None]
    inputs: Inputs


class Reader:
    """Tokenises, decodes and collates payloads in threads. Every image is decoded once.

    Results do not depend on the number of threads. Memory is bounded by `images + workers` decoded images and `workers`
    batches.

    Args:
        prepare: of the encoder.
        modality: of the encoder.
        images: images in a batch; every frame of a clip is an image.
        tokens: tokens of texts in a batch, padding counted.
        workers: number of threads for images. Texts take one: their tokenizer has threads of its own.
    """

    def __init__(
        self, prepare: Preparer, modality: Modality, *, images: int, tokens: int, workers: int
    ) -> None:
        self.prepare = prepare
        self.modality = modality
        self.images = images
        self.tokens = tokens
        self.workers = 1 if modality == "text" else workers

    def batches(
        self, payloads: Sequence[Any], *, on_broken: OnBroken | None = None
    ) -> Iterator[Read]:
        """The batches of payloads. Images keep their order; texts are sorted by length.

        Args:
            payloads: see `FrozenEncoder.encode`.
            on_broken: called with the row of an item that has an image which cannot be decoded, and with the
                reason; the item is left out. By default the error is raised.

        Raises:
            ValueError: if an image cannot be decoded, and there is no `on_broken`.
        """
        if not payloads:
            return
        with ThreadPoolExecutor(self.workers, thread_name_prefix="read") as pool:
            members = self._members(payloads, on_broken, pool)
            yield from in_order(self._read, self._batched(members), pool=pool, depth=self.workers)

    def _members(
        self, payloads: Sequence[Any], on_broken: OnBroken | None, pool: ThreadPoolExecutor
    ) -> Iterator[Member]:
        """The members of every payload that can be decoded, read only when needed."""
        if self.modality == "text":  # one call for all, which tokenizers do fastest
            for row, tokens in enumerate(self.prepare.preparation.read(payloads)):
                yield Member(row, None, tokens)
            return
        splits = self.prepare.splits_clips(payloads)

        def decoded(payload: Any) -> Any:
            read = self.prepare.preparation.read
            try:
                return read(payload) if splits else read([payload])[0]
            except ValueError as error:
                return error

        every = in_order(decoded, payloads, pool=pool, depth=self.images)
        for row, pixels in enumerate(every):
            if not isinstance(pixels, ValueError):
                yield from (
                    (Member(row, len(pixels), frame) for frame in pixels)
                    if splits
                    else [Member(row, None, pixels)]
                )
            elif on_broken is None:
                raise pixels
            else:
                on_broken(row, pixels)

    def _batched(self, members: Iterator[Member]) -> Iterator[list[Member]]:
        if self.modality == "text":
            texts = list(members)
            lengths = self.prepare.preparation.lengths([text.read for text in texts])
            if lengths is not None:
                for together in by_length(lengths, self.tokens):
                    yield [texts[index] for index in together]
                return
            members = iter(texts)
        size = max(self.images // (self.prepare.frames or 1), 1)
        while batch := list(islice(members, size)):
            yield batch

    def _read(self, batch: list[Member]) -> Read:
        rows, frames, read = zip(*batch, strict=True)
        return Read(list(rows), list(frames), Inputs(self.prepare.preparation.collate(list(read))))
