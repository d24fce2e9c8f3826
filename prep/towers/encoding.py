"""The work of encoding one tower: from items to rows of hidden states."""

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from prep.config import EncodeConfig
from prep.towers.rows import FLOAT16_LARGEST, state_rows
from toolkit import Dataset, open_dataset
from toolkit.errors import UserError
from toolkit.prefetch import Prefetched
from toolkit.schema import StatesDtype, Status
from toolkit.sources import captions_behind, captions_of
from toolkit.towers import source_fields

if TYPE_CHECKING:
    from toolkit.backbones import Encoder, FrozenEncoder
    from toolkit.backbones.reading import Read, Reader

_NOTHING: dict[str, tuple[Status, str]] = {
    "title": ("empty", "the title is empty"),
    "cover": ("missing", "no cover is stored (why: step covers)"),
    "frames": ("missing", "no frames are stored (why: step frames)"),
}


class BeyondFloat16Error(UserError):
    """States do not fit float16."""


def load(config: EncodeConfig) -> "FrozenEncoder":
    """The encoder of a tower.

    Raises:
        UserError: if it cannot be loaded.
    """
    import torch  # here, because torch and transformers take seconds that `--help` need not wait

    from toolkit.backbones import FrozenEncoder, load_encoder

    device = config.device
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    encoder = load_encoder(config, device=device, device_map=config.device_map)
    return FrozenEncoder(
        encoder,
        batch_size=config.batch_size,
        batch_tokens=config.batch_tokens,
        workers=config.workers,
    )


@dataclass
class Encoding:
    """The work of a tower: hidden states of a batch of items, with the dataset and the encoder that it needs.

    Both are opened on first use and then kept, and are not pickled: each worker opens its own once.

    Args:
        dataset: what is read, a path that holds for every worker.
        config: of the tower.
        dtype: to store states in.
    """

    dataset: Path
    config: EncodeConfig
    dtype: StatesDtype = "float16"

    def __call__(self, batch: pa.RecordBatch) -> pa.Table:
        """A row for each item of the batch (`toolkit.schema.states`, `status` and `message`).

        Args:
            batch: with the columns item_id and item.

        Raises:
            BeyondFloat16Error: if a state does not fit float16, and dtype is float16.
            UserError: if a state is not finite.
        """
        frozen, reading = self.frozen, self.reading(batch)
        encoder = frozen.encoder
        kept = (
            np.float16 if self.dtype == "float16" else np.float32
        )  # of bfloat16, until it is stored
        states = np.zeros((batch.num_rows, encoder.layers * encoder.width), dtype=kept)
        for rows, batch_states in frozen.states(reading.batches):
            values = batch_states.flatten(1).cpu().numpy()
            refuse_what_does_not_fit(values, self.dtype, encoder.spec.encoder)
            states[[reading.complete[row] for row in rows]] = values
        return state_rows(batch, states, reading.outcomes, self.dtype)

    def expect(self, batch: pa.RecordBatch) -> None:
        """Begins to read the sources of a batch in threads (`prep.executors.local.ReadsAhead`)."""
        self._expected.append((batch, Reading(self, batch)))

    def reading(self, batch: pa.RecordBatch) -> "Reading":
        """The sources of a batch: as expected, or read from now on."""
        while self._expected:
            expected, reading = self._expected.popleft()
            if expected is batch:
                return reading
            reading.batches.close()
        return Reading(self, batch)

    @cached_property
    def _expected(self) -> "deque[tuple[pa.RecordBatch, Reading]]":
        return deque()

    def __reduce__(self) -> tuple[type["Encoding"], tuple[Path, EncodeConfig, StatesDtype]]:
        return type(self), (self.dataset, self.config, self.dtype)

    def refuse_absent_source(self) -> None:
        """Makes sure that what is read is stored, captions for every item.

        Raises:
            UserError: if it is not.
        """
        self.data.source_reader(self.config.source)
        captions_behind(self.data, self.config.source)
        for name in captions_of(self.config.source):
            done, count = self.data.captions(name).num_rows, self.data.items.num_rows
            if done < count:
                raise UserError(
                    f"{self.dataset}: captions {name!r} are not finished, {done:,} of {count:,} items have "
                    "theirs; run prep caption to go on"
                )

    def payloads(self, batch: pa.RecordBatch) -> list[Any]:
        """What the encoder reads of each item; None for an item without a source.

        Args:
            batch: with the column item.
        """
        reader = self.data.source_reader(self.config.source)
        return reader.read(batch.column("item").to_numpy()).to_pylist()

    @cached_property
    def data(self) -> Dataset:
        """Where the sources are."""
        return open_dataset(self.dataset)

    @cached_property
    def frozen(self) -> "FrozenEncoder":
        """The encoder."""
        return load(self.config)


class Reading:
    """The sources of a batch of items, which threads read from now on.

    Attributes:
        batches: what the encoder reads (`toolkit.backbones.reading.Read`); rows are indices of `complete`.
        complete: index of each item that has all that the encoder reads.
        outcomes: status of each item and, unless it is ok, the reason; settled when `batches` has ended.
    """

    def __init__(self, work: Encoding, batch: pa.RecordBatch) -> None:
        self.complete: list[int] = []
        self.outcomes: list[tuple[Status, str | None]] = []
        self.batches = Prefetched(self._read(work, batch, work.frozen.reader))

    def _read(self, work: Encoding, batch: pa.RecordBatch, reader: "Reader") -> Iterator["Read"]:
        encoder, source = work.frozen.encoder, work.config.source
        payloads = work.payloads(batch)
        self.outcomes += [outcome_of(source, payload, encoder) for payload in payloads]
        self.complete += [row for row, (status, _) in enumerate(self.outcomes) if status == "ok"]

        def broken(index: int, error: ValueError) -> None:
            message = f"the stored {source} cannot be decoded ({error})"
            self.outcomes[self.complete[index]] = ("corrupt", message)

        complete = [payloads[row] for row in self.complete]
        yield from reader.batches(complete, on_broken=broken)


def outcome_of(
    source: str, payload: str | bytes | list[bytes] | None, encoder: "Encoder"
) -> tuple[Status, str | None]:
    """Whether an item has all that the encoder reads, and if not, why. Images are not decoded here."""
    if payload is None:
        return _NOTHING.get(source) or _no_text(source)
    if encoder.can_read(payload):
        return "ok", None
    return (
        "truncated",
        f"the encoder reads {encoder.frames} frames, {len(payload)} are stored (why: step frames)",
    )


def _no_text(source: str) -> tuple[Status, str]:
    fields = source_fields(source)
    if len(fields) > 1:
        return "empty", f"it has none of {', '.join(fields)}"
    return "missing", f"it has no usable caption (why: step caption:{source})"


def refuse_what_does_not_fit(values: NDArray[np.float32], dtype: StatesDtype, name: str) -> None:
    """Refuses states that cannot be stored.

    Args:
        values: at least one.
        dtype: to store them in.
        name: of the encoder, for the message.

    Raises:
        BeyondFloat16Error: if a state does not fit float16, and dtype is float16.
        UserError: if a state is not finite.
    """
    largest = float(np.abs(values).max())
    if not np.isfinite(largest):
        raise UserError(
            f"encoder {name!r} gives states that are not finite; compute in a wider precision "
            "(dtype bfloat16 or float32), keep other layers, or choose another encoder"
        )
    if dtype == "float16" and largest > FLOAT16_LARGEST:
        raise BeyondFloat16Error(
            f"encoder {name!r} gives states up to {largest:g}, and float16 ends at {FLOAT16_LARGEST:g}; "
            "they are to be stored in bfloat16"
        )
