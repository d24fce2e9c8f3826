"""What an item encoder reads: stored hidden states, live ones, or bare numbers.

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
    """Source of what an item encoder reads."""

    @property
    def residency(self) -> Residency | None:
        """Where it lies, if it is stored."""
        ...

    @property
    def ahead(self) -> bool:
        """Whether the next batch's features are best gathered while this one trains."""
        ...

    def gather(self, items: Tensor) -> Mapping[str, Any]:
        """The features of U items, given by number, where the item encoder computes: a mapping by name."""
        ...

    def missing(self) -> dict[str, int]:
        """By tower of raw content, how many items have no source; empty where it reads none."""
        ...

    def same_as(self) -> Tensor:
        """(N + 1,) for each item, the lowest number among the items whose features equal its own."""
        ...


class ItemNumbers:
    """Features of the ID baseline: the numbers themselves.

    Args:
        count: N.
        device: where numbers are wanted.
    """

    def __init__(self, count: int, *, device: torch.device | str = "cpu") -> None:
        self.count = count
        self.device = device
        self.residency = None
        self.ahead = False

    def gather(self, items: Tensor) -> dict[str, Tensor]:
        """(U,) -> `{"id": (U,)}`."""
        return {"id": items.to(self.device)}

    def missing(self) -> dict[str, int]:
        """None: it reads no content."""
        return {}

    def same_as(self) -> Tensor:
        """(N + 1,): no two items are the same."""
        return torch.arange(self.count + 1)


class StoredStates:
    """Hidden states that prep stored. Where they lie (`models.machine.residency`) changes no result.

    Args:
        tables: by tower.
        device: where states are wanted.
        place: where they lie: `device`, `host`, `mapped`; `auto` takes the first that has room.
        device_gib: what they may take of a GPU; by default half of what is free.
        host_gib: what they may take of this machine's memory; by default half of what is free.

    Raises:
        UserError: if there is no room at the place that is asked for.
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
        self.ahead = self.residency.place != "device"
        if self.residency.place == "host":
            self.tables = {name: StateTable.of(table.load()) for name, table in tables.items()}
        self._here: dict[str, Tensor] = {}
        if self.residency.place == "device":
            self._here = {name: table.load(self.device) for name, table in tables.items()}

    def gather(self, items: Tensor) -> dict[str, Tensor]:
        """(U,) -> `{tower: (U, K, D)}`."""
        if self._here:
            here = items.to(self.device)
            return {name: states.index_select(0, here) for name, states in self._here.items()}
        # What crosses the bus is the gathered batch: it alone is pinned, so that the copy needs no CPU.
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
        dataset: whose sources are read.
        encoders: by tower.
    """

    def __init__(self, dataset: Dataset, encoders: Mapping[str, "FrozenEncoder"]) -> None:
        self.dataset = dataset
        self.encoders = dict(encoders)
        self.residency = None
        self.ahead = False
        self.sources = {name: frozen.encoder.spec.source for name, frozen in encoders.items()}

    def gather(self, items: Tensor) -> dict[str, Tensor]:
        """(U,) -> `{tower: (U, K, D)}`; zeros for items without a readable source, as stored states have."""
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
            on_broken=lambda index, error: None,  # prep recorded it, and stored zeros
        )
        for indices, batch in encoded:
            states[[complete[index] for index in indices]] = batch
        return states


def load_live(
    dataset: Dataset, towers: list[str], *, device: torch.device | str = "cpu"
) -> LiveStates:
    """The encoders that made the stored states of `towers`, loaded and frozen, to run in every step.

    Raises:
        UserError: if an encoder (by revision) or captions are not those that the stored states came
            from, or a tower was imported from a file of features.
    """
    return LiveStates(dataset, {name: _frozen_encoder(dataset, name, device) for name in towers})


def _frozen_encoder(dataset: Dataset, name: str, device: torch.device | str) -> "FrozenEncoder":
    # here: stored states need no transformers
    from toolkit.backbones import EncoderSpec, FrozenEncoder, load_encoder

    metadata = dataset.states_metadata(name)
    if metadata["encoder"].startswith(IMPORTED):
        raise UserError(
            f"tower {name!r} was imported ({metadata['encoder']}), so no encoder can make it live; "
            "leave it out, or use --states stored"
        )
    captions, then = captions_behind(dataset, metadata["source"]), metadata.get("captions", "")
    if captions != then:
        raise UserError(
            f"tower {name!r}: the captions it reads are {captions}, the stored states came from {then}; "
            f"delete {dataset.path / 'states' / name} and run prep encode again"
        )
    step = dataset.manifest["steps"][f"encode:{name}"]["config"]
    encoder = load_encoder(EncoderSpec.of_record(metadata, step), device=device)
    now = {
        "revision": encoder.revision_as(metadata["revision"]),
        "processor": encoder.processor,
    }
    recorded = {**dataset.states_settings(name), "revision": metadata["revision"]}
    for key, value in now.items():
        if value != recorded.get(key, value):  # states of an older Versa lack the processor
            raise UserError(
                f"tower {name!r}: encoder {metadata['encoder']!r} is at {key} {value}, "
                f"the stored states came from {recorded[key]}; run prep encode again"
            )
    return FrozenEncoder(
        encoder, batch_size=step["batch_size"], batch_tokens=step.get("batch_tokens")
    )


def source_digests(columns: Sequence[pa.Array]) -> list[bytes]:
    """A digest for each of U items, of its sources in several columns; equal only where all are equal."""
    return [_digest(*row) for row in zip(*map(_as_bytes, columns), strict=True)]


def _digest(*parts: Any) -> bytes:
    digest = hashlib.blake2b(digest_size=16)
    for part in parts:  # lengths keep ("ab", "c") and ("a", "bc") apart
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
    """For each row, the first that equals it."""
    first: dict[Any, int] = {}
    return torch.tensor([first.setdefault(row, place) for place, row in enumerate(rows)])
