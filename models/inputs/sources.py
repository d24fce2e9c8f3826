"""Inputs of encoders that train: texts, covers, frames and clips, tokenised or decoded ahead of the step, or stored states
of their tokens.

N items, numbered 1..N; U items of a batch.
"""

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from models.inputs.features import SOURCES_AT_ONCE, first_of_equals, source_digests
from models.machine.threads import threads_of
from toolkit.backbones.encoder import Preparer
from toolkit.backbones.prepared import OVERHEAD_TOKENS, Prepared, prepare_items
from toolkit.dataset import Dataset
from toolkit.errors import UserError
from toolkit.tokens import TokenTable
from toolkit.towers import PICTURES

_LOOKED_AT = 64  # clips whose length is read where the dataset does not record it


class Sources:
    """What trained encoders read, by tower.

    Args:
        dataset: whose sources are read.
        preparers: by tower, the `prepare` of its encoder.
        sources: by tower, what it reads.
        tokens: by tower, the token states that its encoder reads instead of the source.
        device: where inputs are wanted.
        workers: threads of this process that decode and resize images (`models.machine.threads.threads_of`). Inputs do
            not depend on it.
    """

    def __init__(
        self,
        dataset: Dataset,
        preparers: Mapping[str, Preparer],
        sources: Mapping[str, str],
        *,
        tokens: Mapping[str, TokenTable] | None = None,
        device: torch.device | str = "cpu",
        workers: int = 0,
    ) -> None:
        self.dataset = dataset
        self.preparers = dict(preparers)
        self.sources = dict(sources)
        self.tokens = dict(tokens or {})
        self.device = torch.device(device)
        self.readers = {name: dataset.source_reader(source) for name, source in sources.items()}
        self.residency = None
        self.prefetch = True
        self.broken: dict[str, set[int]] = {name: set() for name in sources}
        self.workers = threads_of(workers)

    def gather(self, items: Tensor) -> dict[str, Prepared]:
        """(U,) -> the inputs of each tower. What cannot be read is as absent, and `broken` has its number."""
        return {name: self._prepared(name, items.tolist()) for name in self.sources}

    def same_as(self) -> Tensor:
        """(N + 1,): equal sources in every tower."""
        return self._same_as

    def missing(self) -> dict[str, int]:
        """By tower, how many of the N items have no source, or no token states."""
        absent = {
            name: int((~torch.tensor(present, dtype=torch.bool)).sum())
            for name, present in self._facts[1].items()
        }
        stored = {name: table.lengths()[1:] for name, table in self.tokens.items()}
        return absent | {name: int((lengths == 0).sum()) for name, lengths in stored.items()}

    @cached_property
    def _same_as(self) -> Tensor:
        return first_of_equals(self._facts[0])

    @cached_property
    def _facts(self) -> tuple[list[Any], dict[str, list[bool]]]:
        """Digests of all items' sources, and whether each has one: found in one pass."""
        digests: list[Any] = [None]
        present: dict[str, list[bool]] = {name: [] for name in self.sources}
        numbers = range(1, self.dataset.items.num_rows + 1)
        for start in range(0, len(numbers), SOURCES_AT_ONCE):
            columns = {
                name: reader.read(numbers[start : start + SOURCES_AT_ONCE])
                for name, reader in self.readers.items()
            }
            digests += source_digests(list(columns.values()))
            for name, column in columns.items():
                present[name] += column.is_valid().to_pylist()
        return digests, present

    @cached_property
    def _pool(self) -> ThreadPoolExecutor:
        return ThreadPoolExecutor(self.workers, thread_name_prefix="pictures")

    def _prepared(self, name: str, numbers: list[int]) -> Prepared:
        payloads: list[Any] = (
            self.tokens[name].read(numbers)
            if name in self.tokens
            else self.readers[name].read(numbers).to_pylist()
        )
        overhead = OVERHEAD_TOKENS.get(self.device.type, OVERHEAD_TOKENS["cuda"])
        prepared, broken = prepare_items(
            self.preparers[name],
            payloads,
            overhead_tokens=overhead,
            pool=self._pool if self.sources[name] in PICTURES else None,
        )
        self.broken[name].update(numbers[row] for row in broken)
        if self.device.type != "cuda":
            return prepared
        # Pinned alone: the encoder copies what it reads, so that a GPU never holds the pictures of a whole step.
        batches = tuple(inputs.moved(Tensor.pin_memory) for inputs in prepared.batches)
        return Prepared(batches, prepared.rows.pin_memory())


def refuse_short_clips(
    dataset: Dataset, preparers: Mapping[str, Preparer], sources: Mapping[str, str]
) -> None:
    """Refuses a video encoder that reads more frames than the dataset stores of a clip.

    A shorter clip among longer ones is a missing source of its item (`Sources.broken`).

    Args:
        dataset: whose sources are read.
        preparers: by tower, the `prepare` of its encoder.
        sources: by tower, what it reads.

    Raises:
        UserError: naming the tower and both numbers of frames, or a tower whose source is no clip.
    """
    for name, prepare in preparers.items():
        if prepare.frames is None:
            continue
        who = f"tower {name!r}: its encoder reads clips of {prepare.frames} frames"
        if sources[name] != "frames":
            raise UserError(
                f"{who}, and its source is {sources[name]}; set --encoders.{name}.source frames"
            )
        stored = _stored_frames(dataset)
        if stored is not None and stored < prepare.frames:
            raise UserError(
                f"{who}, and the dataset stores {stored} of each clip; store more with prep build "
                f"--media.frame_count {prepare.frames}, or choose an encoder or --encoders.{name}.frame_count of at most "
                f"{stored}"
            )


def _stored_frames(dataset: Dataset) -> int | None:
    """How many frames of each clip a dataset stores; None if it stores none."""
    steps = dataset.manifest.get("steps", {})
    recorded: int | None = steps.get("frames", {}).get("config", {}).get("frame_count")
    if recorded is not None:
        return recorded
    numbers = list(range(1, min(dataset.items.num_rows, _LOOKED_AT) + 1))
    clips = dataset.source_reader("frames").read(numbers).to_pylist()
    return max((len(clip) for clip in clips if clip is not None), default=None)
