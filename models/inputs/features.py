"""What an item encoder reads: stored hidden states, live ones, or bare numbers.

N items, numbered 1..N; U items of a batch; K kept states, D width.
"""

import hashlib
from collections.abc import Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal, Protocol

import pyarrow as pa
import torch
from torch import Tensor

from models.machine.residency import Place, Residency, choose
from toolkit.dataset import Dataset
from toolkit.errors import UserError
from toolkit.sources import captions_behind
from toolkit.states import StateTable
from toolkit.towers import IMPORTED

if TYPE_CHECKING:
    from toolkit.backbones import Backbone

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

    def gather(self, items: Tensor) -> Any:
        """The features of U items, by number, where the item encoder computes."""
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

    def gather(self, items: Tensor) -> Tensor:
        """(U,) -> (U,)."""
        return items.to(self.device)

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
        place: Place | Literal["auto"] = "auto",
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

    def same_as(self) -> Tensor:
        """(N + 1,): equal rows in every tower."""
        return self._same_as

    @cached_property
    def _same_as(self) -> Tensor:
        digests: list[Any] = []
        for chunks in zip(*(table.chunks() for table in self.tables.values()), strict=True):
            arrays = [chunk.flatten(1).view(torch.uint8).numpy() for chunk in chunks]
            digests += [_digest(*(row.data for row in rows)) for rows in zip(*arrays, strict=True)]
        return _first_of_equals(digests)


class LiveStates:
    """Hidden states computed when they are asked for: the uncached IISAN.

    Args:
        dataset: whose sources are read.
        backbones: by tower.
    """

    def __init__(self, dataset: Dataset, backbones: Mapping[str, "Backbone"]) -> None:
        self.dataset = dataset
        self.backbones = dict(backbones)
        self.residency = None
        self.ahead = False
        self.sources = {name: dataset.states_metadata(name)["source"] for name in backbones}

    def gather(self, items: Tensor) -> dict[str, Tensor]:
        """(U,) -> `{tower: (U, K, D)}`; zeros for an item without the source, as stored ones have."""
        return {name: self._encode(name, items.tolist()) for name in self.backbones}

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
            sources = [reader.read(chunk) for reader in readers]
            rows += [_digest(*row) for row in zip(*map(_as_bytes, sources), strict=True)]
        return _first_of_equals(rows)

    def _encode(self, name: str, numbers: list[int]) -> Tensor:
        backbone = self.backbones[name]
        payloads = self.dataset.source_reader(self.sources[name]).read(numbers).to_pylist()
        present = [place for place, one in enumerate(payloads) if backbone.can_read(one)]
        states = torch.zeros(len(payloads), backbone.layers, backbone.width, device=backbone.device)
        if present:
            states[present] = backbone.encode([payloads[place] for place in present])
        return states


def load_live(
    dataset: Dataset, towers: list[str], *, device: torch.device | str = "cpu"
) -> LiveStates:
    """The backbones that made the stored states of `towers`, loaded to make them live.

    Raises:
        UserError: if an encoder (by revision) or captions are not those that the stored states came
            from, or a tower's states came from no encoder of ours.
    """
    return LiveStates(dataset, {name: _backbone_of(dataset, name, device) for name in towers})


def _backbone_of(dataset: Dataset, name: str, device: torch.device | str) -> "Backbone":
    from toolkit.backbones import load_backbone  # here: stored states need no transformers

    about = dataset.states_metadata(name)
    if about["encoder"].startswith(IMPORTED):
        raise UserError(
            f"tower {name!r} was imported ({about['encoder']}), so no encoder can make it live; "
            "leave it out, or use --states stored"
        )
    captions, then = captions_behind(dataset, about["source"]), about.get("captions", "")
    if captions != then:
        raise UserError(
            f"tower {name!r}: the captions it reads are {captions}, the stored states came from {then}; "
            f"delete {dataset.path / 'states' / name} and run prep encode again"
        )
    step = dataset.manifest["steps"][f"encode:{name}"]["config"]
    backbone = load_backbone(
        about["encoder"],
        modality=about["modality"],  # type: ignore[arg-type]
        layers=step["layers"],
        pooling=about["pooling"],  # type: ignore[arg-type]
        revision=step["revision"],
        max_tokens=step["max_tokens"],
        lowercase=step["lowercase"],
        batch_size=step["batch_size"],
        batch_tokens=step.get("batch_tokens"),
        device=device,
        # Tables from before these were recorded were all made so.
        dtype=about.get("precision", "float32"),  # type: ignore[arg-type]
        quantize=about.get("quantize", "none"),  # type: ignore[arg-type]
    )
    made_now = {
        "revision": backbone.revision_as(about["revision"]),
        "processor": backbone.processor,
    }
    made_then = {**dataset.states_settings(name), "revision": about["revision"]}
    for key, value in made_now.items():
        if value != made_then.get(key, value):  # states of an older Versa lack the processor
            raise UserError(
                f"tower {name!r}: encoder {about['encoder']!r} is at {key} {value}, "
                f"the stored states came from {made_then[key]}; run prep encode again"
            )
    return backbone


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


def _first_of_equals(rows: list[Any]) -> Tensor:
    first: dict[Any, int] = {}
    return torch.tensor([first.setdefault(row, place) for place, row in enumerate(rows)])
