"""The inputs of an item encoder: stored hidden states, live hidden states, or item numbers.

N items, numbered 1..N; U items of a batch; K kept states, D width.
"""

import hashlib
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal, Protocol

import pyarrow as pa
import torch
from torch import Tensor

from models.machine.residency import Location, Residency, choose
from toolkit.dataset import Dataset
from toolkit.errors import UserError
from toolkit.sources import captions_behind
from toolkit.states import StateTable
from toolkit.towers import IMPORTED

if TYPE_CHECKING:
    from toolkit.backbones import FrozenEncoder

SOURCES_AT_ONCE = 1024


class Features(Protocol):
    """A source of item features."""

    @property
    def residency(self) -> Residency | None:
        """Where stored features reside; None for features that are not stored."""
        ...

    @property
    def prefetch(self) -> bool:
        """Whether to gather the next batch's features while the current batch trains."""
        ...

    def gather(self, items: Tensor) -> Mapping[str, Any]:
        """Features by name for (U,) item numbers, on the item encoder's device."""
        ...

    def missing(self) -> dict[str, int]:
        """By tower of raw content, how many items have no source; empty where it reads none."""
        ...

    @property
    def broken(self) -> Mapping[str, set[int]]:
        """By tower of raw content, the items seen so far whose source cannot be read; empty where it reads none."""
        ...

    def same_as(self) -> Tensor:
        """(N + 1,) per item, the lowest item number with equal features."""
        ...


class ItemNumbers:
    """Features of the ID baseline: the item numbers.

    Args:
        count: N.
        device: device of the gathered numbers.
    """

    def __init__(self, count: int, *, device: torch.device | str = "cpu") -> None:
        self.count = count
        self.device = device
        self.residency = None
        self.prefetch = False
        self.broken: dict[str, set[int]] = {}

    def gather(self, items: Tensor) -> dict[str, Tensor]:
        """(U,) -> `{"id": (U,)}`."""
        return {"id": items.to(self.device)}

    def missing(self) -> dict[str, int]:
        """None: it reads no content."""
        return {}

    def same_as(self) -> Tensor:
        """(N + 1,): no two items are equal."""
        return torch.arange(self.count + 1)


class StoredStates:
    """Hidden states stored by prep. Their residency (`models.machine.residency`) does not change results.

    Args:
        tables: state tables by tower.
        device: device of the gathered states.
        place: residency: `device`, `host` or `mapped`; `auto` selects the first that fits.
        device_gib: limit of GPU memory for states; by default half of the free memory.
        host_gib: limit of host memory for states; by default half of the free memory.

    Raises:
        UserError: if the states do not fit into the requested residency.
    """

    def __init__(
        self,
        tables: Mapping[str, StateTable],
        *,
        device: torch.device | str = "cpu",
        place: Location | Literal["auto"] = "auto",
        device_gib: float | None = None,
        host_gib: float | None = None,
    ) -> None:
        self.device = torch.device(device)
        self.tables = dict(tables)
        self.residency = choose(
            sum(table.nbytes for table in tables.values()),
            device=self.device,
            place=place,
            device_gib=device_gib,
            host_gib=host_gib,
        )
        self.prefetch = self.residency.place != "device"
        self.broken: dict[str, set[int]] = {}
        if self.residency.place == "host":
            self.tables = {name: StateTable.of(table.load()) for name, table in tables.items()}
        self._on_device: dict[str, Tensor] = {}
        if self.residency.place == "device":
            self._on_device = {name: table.load(self.device) for name, table in tables.items()}

    def gather(self, items: Tensor) -> dict[str, Tensor]:
        """(U,) -> `{tower: (U, K, D)}`."""
        if self._on_device:
            indices = items.to(self.device)
            return {
                name: states.index_select(0, indices) for name, states in self._on_device.items()
            }
        # Only the gathered batch is copied to the GPU, so it alone is pinned, for an asynchronous copy.
        pin = self.device.type == "cuda"
        return {
            name: table.gather(items, pin=pin).to(self.device, non_blocking=True)
            for name, table in self.tables.items()
        }

    def missing(self) -> dict[str, int]:
        """None are known: prep stored zeros for such items, and reported them."""
        return {}

    def same_as(self) -> Tensor:
        """(N + 1,): equal rows in every tower."""
        return self._same_as

    @cached_property
    def _same_as(self) -> Tensor:
        digests: list[Any] = []
        for chunks in zip(*(table.chunks() for table in self.tables.values()), strict=True):
            arrays = [chunk.flatten(1).view(torch.uint8).numpy() for chunk in chunks]
            digests += [_digest(*(row.data for row in rows)) for rows in zip(*arrays, strict=True)]
        return first_of_equals(digests)


class LiveStates:
    """Hidden states that frozen encoders compute in every step: the uncached IISAN.

    Args:
        dataset: dataset with the towers' sources.
        encoders: frozen encoders by tower.
    """

    def __init__(self, dataset: Dataset, encoders: Mapping[str, "FrozenEncoder"]) -> None:
        self.dataset = dataset
        self.encoders = dict(encoders)
        self.residency = None
        self.prefetch = False
        self.broken: dict[str, set[int]] = {}
        self.sources = {name: frozen.encoder.spec.source for name, frozen in encoders.items()}

    def gather(self, items: Tensor) -> dict[str, Tensor]:
        """(U,) -> `{tower: (U, K, D)}`; zeros for items without a readable source, as in stored states."""
        return {name: self._encode(name, items.tolist()) for name in self.encoders}

    def missing(self) -> dict[str, int]:
        """None are counted: they have zeros, as stored states have."""
        return {}

    def same_as(self) -> Tensor:
        """(N + 1,): equal sources in every tower."""
        return self._same_as

    @cached_property
    def _same_as(self) -> Tensor:
        rows: list[Any] = [None]
        readers = [self.dataset.source_reader(source) for source in self.sources.values()]
        numbers = range(1, self.dataset.items.num_rows + 1)
        for start in range(0, len(numbers), SOURCES_AT_ONCE):
            chunk = numbers[start : start + SOURCES_AT_ONCE]
            rows += source_digests([reader.read(chunk) for reader in readers])
        return first_of_equals(rows)

    def _encode(self, name: str, numbers: list[int]) -> Tensor:
        frozen = self.encoders[name]
        encoder = frozen.encoder
        payloads = self.dataset.source_reader(self.sources[name]).read(numbers).to_pylist()
        complete = [row for row, payload in enumerate(payloads) if encoder.can_read(payload)]
        states = torch.zeros(len(payloads), encoder.layers, encoder.width, device=encoder.device)
        encoded = frozen.batches(
            [payloads[row] for row in complete],
            on_broken=lambda index, error: None,  # prep recorded the error and stored zeros
        )
        for indices, batch in encoded:
            states[[complete[index] for index in indices]] = batch
        return states


def load_live(
    dataset: Dataset, towers: list[str], *, device: torch.device | str = "cpu"
) -> LiveStates:
    """Loads and freezes the encoders of the stored states of `towers`, to run in every step.

    Raises:
        UserError: if an encoder's revision or the captions differ from those of the stored states, or if a tower
            was imported from a feature file.
    """
    return LiveStates(dataset, {name: _frozen_encoder(dataset, name, device) for name in towers})


def _frozen_encoder(dataset: Dataset, name: str, device: torch.device | str) -> "FrozenEncoder":
    # imported here, because stored states do not need transformers
    from toolkit.backbones import EncoderSpec, FrozenEncoder, load_encoder

    metadata = dataset.states_metadata(name)
    if metadata["encoder"].startswith(IMPORTED):
        raise UserError(
            f"tower {name!r} was imported ({metadata['encoder']}), so it has no encoder for --states live; "
            "remove the tower, or use --states stored"
        )
    captions = captions_behind(dataset, metadata["source"])
    recorded_captions = metadata.get("captions", "")
    if captions != recorded_captions:
        raise UserError(
            f"tower {name!r}: its captions are {captions}, but the stored states came from {recorded_captions}; "
            f"delete {dataset.path / 'states' / name} and run prep encode again"
        )
    step = dataset.manifest["steps"][f"encode:{name}"]["config"]
    encoder = load_encoder(EncoderSpec.of_record(metadata, step), device=device)
    current = {
        "revision": encoder.revision_as(metadata["revision"]),
        "processor": encoder.processor,
    }
    recorded = {**dataset.states_settings(name), "revision": metadata["revision"]}
    for key, value in current.items():
        if value != recorded.get(key, value):  # states of older Versa versions lack the processor
            raise UserError(
                f"tower {name!r}: encoder {metadata['encoder']!r} has {key} {value}, "
                f"but the stored states came from {recorded[key]}; run prep encode again"
            )
    return FrozenEncoder(
        encoder, batch_size=step["batch_size"], batch_tokens=step.get("batch_tokens")
    )


def source_digests(columns: Sequence[pa.Array]) -> list[bytes]:
    """A digest for each of U items, of its sources in several columns; equal only where all are equal."""
    return [_digest(*row) for row in zip(*map(_as_bytes, columns), strict=True)]


def _digest(*parts: Any) -> bytes:
    digest = hashlib.blake2b(digest_size=16)
    for part in parts:  # the lengths distinguish ("ab", "c") from ("a", "bc")
        digest.update(len(part).to_bytes(8, "little"))
        digest.update(part)
    return digest.digest()


def _as_bytes(source: pa.Array) -> list[bytes]:
    return [_flat(value) for value in source.to_pylist()]


def _flat(value: str | bytes | list[bytes] | None) -> bytes:
    if isinstance(value, list):
        return b"".join(_digest(frame) for frame in value)
    return value.encode() if isinstance(value, str) else value or b""


def first_of_equals(rows: list[Any]) -> Tensor:
    """(len(rows),) per row, the lowest index of an equal row."""
    first: dict[Any, int] = {}
    return torch.tensor([first.setdefault(row, index) for index, row in enumerate(rows)])
