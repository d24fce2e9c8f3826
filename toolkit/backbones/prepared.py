"""The inputs of many items for one encoder, made ahead of the step that reads them.

U items, S tokens, K kept states, D width.
"""

from collections.abc import Iterator, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from toolkit.backbones.batching import least_padding
from toolkit.backbones.encoder import Encoder, Inputs, Preparer
from toolkit.backbones.token_states import TokenStates, single_tokens

IMAGES_AT_ONCE = 64
TOKENS_AT_ONCE = 8192
# What another batch of texts costs beside its tokens, in tokens: a GPU waits for the launches of its kernels.
OVERHEAD_TOKENS = {"cpu": 32, "cuda": 1024}


@dataclass(frozen=True)
class Prepared:
    """What an encoder reads of U items, in batches of a bounded size.

    Args:
        batches: of the P items that have a source; none where no item has one.
        rows: (U,) row of each item in the concatenated states of the batches; P for an item without a source.
    """

    batches: tuple[Inputs, ...]
    rows: Tensor

    def encode(
        self, encoder: nn.Module, missing: Tensor, *, spare: Sequence[Inputs] = ()
    ) -> Tensor:
        """The last kept state of every item, (U, D), differentiable.

        Args:
            encoder: from `Inputs` to (P, K, D).
            missing: (D,) state of an item without a source.
            spare: inputs that are encoded for no item, so that processes can call the encoder equally often.
        """
        states = [encoder(inputs)[:, -1] for inputs in self.batches]
        unused = [encoder(inputs)[:, -1] for inputs in spare]
        table = torch.cat([*states, missing.to(torch.float32)[None], *unused])
        # nn.functional.embedding: the backward of table[rows] is not deterministic on several CPU threads.
        return nn.functional.embedding(self.rows.to(table.device), table)

    def encode_tokens(
        self, encoder: Encoder, missing: Tensor, *, spare: Sequence[Inputs] = ()
    ) -> TokenStates:
        """The last kept state of every token of every item, (U, S, D), differentiable.

        Args:
            encoder: from `Inputs` to token states.
            missing: (D,) state of an item without a source, which has one token.
            spare: as in `encode`.
        """
        encoded = [encoder.token_states(inputs) for inputs in self.batches]
        unused = [encoder.token_states(inputs) for inputs in spare]
        alone = single_tokens(missing.to(torch.float32)[None])
        longest = max(each.real.shape[1] for each in (*encoded, alone))
        parts = [_padded(each, longest) for each in (*encoded, alone, *unused)]
        states, real = (torch.cat(x) for x in zip(*parts, strict=True))
        rows = self.rows.to(states.device)
        found = nn.functional.embedding(rows, states.flatten(1))  # see `encode`
        return TokenStates(found.unflatten(1, states.shape[1:]), real[rows])


def _padded(tokens: TokenStates, length: int) -> TokenStates:
    """The tokens, padded or cut on the right to a length."""
    more = length - tokens.real.shape[1]
    return TokenStates(
        nn.functional.pad(tokens.states, (0, 0, 0, more)), nn.functional.pad(tokens.real, (0, more))
    )


def prepare_items(
    prepare: Preparer,
    payloads: Sequence[Any],
    *,
    images_at_once: int = IMAGES_AT_ONCE,
    tokens_at_once: int = TOKENS_AT_ONCE,
    overhead_tokens: int = OVERHEAD_TOKENS["cpu"],
    pool: Executor | None = None,
) -> tuple[Prepared, list[int]]:
    """Tokenises or decodes the sources of U items, on the CPU; it may be called from several threads.

    Texts are cut into batches by length, so that few tokens are padding (`least_padding`).

    Args:
        prepare: of the encoder.
        payloads: text, image or clip of each item; None for an item without one.
        images_at_once: images of a batch, every frame of a clip counted; a longer clip goes alone.
        tokens_at_once: tokens of a batch, padding counted; a longer text goes alone.
        overhead_tokens: what another batch of texts costs, in tokens (`OVERHEAD_TOKENS`).
        pool: of threads that decode and resize images; by default the calling thread does. Results do not depend on it.

    Returns:
        The inputs, and the rows of items that have a source which cannot be read: a picture that cannot be decoded, or
        a clip of too few frames.
    """

    def pixels_of(payload: Any) -> Any | None:
        try:
            return _pixels(prepare, payload)
        except ValueError:
            return None

    read: dict[int, Any] = {}
    broken = []
    texts = [row for row, payload in enumerate(payloads) if isinstance(payload, str)]
    if texts:
        read = dict(
            zip(texts, prepare.preparation.read([payloads[row] for row in texts]), strict=True)
        )
    each = map if pool is None else pool.map
    pictures = [row for row, one in enumerate(payloads) if one is not None and row not in read]
    for row, pixels in zip(
        pictures, each(pixels_of, [payloads[row] for row in pictures]), strict=True
    ):
        if pixels is None:
            broken.append(row)
        else:
            read[row] = pixels
    rows = torch.full((len(payloads),), len(read))
    together = list(_batched(prepare, read, images_at_once, tokens_at_once, overhead_tokens))
    rows[[row for batch in together for row in batch]] = torch.arange(len(read))
    batches = each(
        partial(_collated, prepare), [[read[row] for row in batch] for batch in together]
    )
    return Prepared(tuple(batches), rows), broken


def _pixels(prepare: Preparer, payload: Any) -> Any:
    """What is read of an image or clip.

    Raises:
        ValueError: if it cannot be decoded, or has too few frames.
    """
    if prepare.frames is not None and len(payload) < prepare.frames:
        raise ValueError(f"a clip of {len(payload)} frames, and the encoder reads {prepare.frames}")
    if isinstance(payload, list) and not payload:
        raise ValueError("a clip without frames")
    if prepare.splits_clips([payload]):
        return prepare.preparation.read(payload)
    return prepare.preparation.read([payload])[0]


def _batched(
    prepare: Preparer, read: dict[int, Any], images: int, tokens: int, overhead: int
) -> Iterator[list[int]]:
    """Rows of each batch."""
    rows = list(read)
    lengths = prepare.preparation.lengths([read[row] for row in rows]) if rows else None
    if lengths is None:  # images take the same memory each
        frames = [_images_of(prepare, read[row]) for row in rows]
        batch: list[int] = []
        size = 0
        for row, count in zip(rows, frames, strict=True):
            if batch and size + count > images:
                yield batch
                batch, size = [], 0
            batch.append(row)
            size += count
        if batch:
            yield batch
        return
    for together in least_padding(lengths, tokens, overhead=overhead):
        yield [rows[index] for index in together]


def _images_of(prepare: Preparer, read: Any) -> int:
    return prepare.frames or (len(read) if isinstance(read, list) else 1)


def _collated(prepare: Preparer, read: list[Any]) -> Inputs:
    if not isinstance(read[0], list) or prepare.frames is not None:
        return Inputs(prepare.preparation.collate(read))
    images = [image for clip in read for image in clip]
    return Inputs(prepare.preparation.collate(images), tuple(map(len, read)))
