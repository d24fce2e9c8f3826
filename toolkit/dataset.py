"""Opens a dataset folder: the read side of what prep writes."""

import hashlib
from collections.abc import Iterator, Sequence
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from toolkit import schema
from toolkit.checksums import ERRORS, SHARDS, recorded_checksums, refuse_other_files
from toolkit.errors import UserError
from toolkit.histories import UserHistories, refuse_no_interactions, user_histories
from toolkit.ids import IdMap, as_ids
from toolkit.json_files import MANIFEST, SEAL
from toolkit.large_arrays import Collected
from toolkit.manifest import read_manifest
from toolkit.own_protocols import ProtocolLike
from toolkit.sources import SourceReader
from toolkit.splits import Splits, checked_cut, split_histories
from toolkit.store import Table, read_file, tables_in
from toolkit.towers import TowerSpec

if TYPE_CHECKING:
    import torch

    from toolkit.states import StateTable
    from toolkit.tokens import TokenTable

INTERACTIONS = "interactions"  # `Dataset.kind`; `toolkit.faces` has the other
_READERS = {"faces": "python -m models.facial.train --data DATASET"}  # of other kinds
STATES_COLUMNS = ("encoder", "revision", "layers", "width", "pooling", "source", "modality")
TOKENS_COLUMNS = ("encoder", "revision", "layer", "width", "source", "modality")
_COLUMNS = {"states": STATES_COLUMNS, "tokens": TOKENS_COLUMNS}


def open_dataset(path: str | Path) -> "Dataset":
    """Opens a dataset folder that `prep` wrote.

    Raises:
        UserError: if the folder is not a finished dataset, or has another schema version.
    """
    path = Path(path)
    if not (path / MANIFEST).exists():
        raise UserError(
            f"{path}: not a finished dataset, because it has no {MANIFEST}; build one with python -m prep build DUMP "
            "DATASET"
        )
    return Dataset(path, read_manifest(path / MANIFEST))


def refuse_other_kind(path: Path, kind: str) -> None:
    """Refuses a dataset without interactions, where items, media or towers are wanted.

    Args:
        path: the dataset.
        kind: what it holds (`Dataset.kind`).

    Raises:
        UserError: naming the command that reads such a dataset.
    """
    if kind != INTERACTIONS:
        reader = _READERS.get(kind, "the command that wrote it")
        raise UserError(
            f"{path}: a dataset of {kind}, expected one of interactions of users with items; use {reader}, or build "
            "another dataset with python -m prep build DUMP DATASET"
        )


class Dataset:
    """A dataset folder. Tables are memory-mapped at the first access.

    N items, numbered 1..N; 0 is padding.

    Args:
        path: the folder.
        manifest: content of `dataset.json`; the attribute omits the checksums.
    """

    def __init__(self, path: Path, manifest: dict[str, Any]) -> None:
        self.path = path
        self.manifest = {key: part for key, part in manifest.items() if key not in (SHARDS, SEAL)}
        self._checksums = recorded_checksums(manifest)
        self._captions: dict[str, pa.Table] = {}
        self._readers: dict[str, SourceReader] = {}

    def __repr__(self) -> str:
        return f"Dataset({str(self.path)!r}, items={self.items.num_rows}, towers={self.towers()})"

    @property
    def name(self) -> str:
        """The dataset's name."""
        return str(self.manifest.get("name", self.path.name))

    @property
    def kind(self) -> str:
        """What the dataset holds: `interactions` of users with items, or `faces` (`toolkit.faces`)."""
        return str(self.manifest.get("kind", INTERACTIONS))

    @cached_property
    def items(self) -> pa.Table:
        """Items (`toolkit.schema.ITEMS`); row r is item r + 1."""
        table = self._table("items", schema.ITEMS)
        if not np.array_equal(table.column("item").to_numpy(), np.arange(1, table.num_rows + 1)):
            raise UserError(
                f"{self.path / 'items'}: items are not numbered 1..N, as after two concurrent builds; delete {self.path} "
                "and build the dataset again"
            )
        return table

    @cached_property
    def interactions(self) -> pa.Table:
        """Interactions by user and position (`toolkit.schema.INTERACTIONS`)."""
        return self._table("interactions", schema.INTERACTIONS)

    @cached_property
    def item_ids(self) -> IdMap:
        """The dump's item ids and their numbers 1..N."""
        return IdMap(self.items.column("item_id").to_pylist())

    @cached_property
    def covers(self) -> pa.Table:
        """Covers (`toolkit.schema.COVERS`), in any order."""
        return self._table("covers", schema.COVERS)

    @cached_property
    def frames(self) -> pa.Table:
        """Video frames (`toolkit.schema.FRAMES`), in any order."""
        return self._table("frames", schema.FRAMES)

    @cached_property
    def comments(self) -> pa.Table:
        """Users' comments on items (`toolkit.schema.COMMENTS`), in the dump's order."""
        return self._table("comments", schema.COMMENTS)

    def caption_names(self) -> list[str]:
        """Names of the stored captions."""
        return tables_in(self.path / "captions")

    def captions(self, name: str) -> pa.Table:
        """Captions with a name (`toolkit.schema.CAPTIONS`), in any order.

        Raises:
            UserError: if no captions with that name are stored.
        """
        if name not in self._captions:  # cached, because a source is read in batches
            self._captions[name] = self._table(f"captions/{name}", schema.CAPTIONS)
        return self._captions[name]

    @property
    def errors(self) -> pa.Table:
        """All items that are not ok in some step, with the reason (`toolkit.schema.ERRORS`)."""
        files = sorted(
            (self.path / ERRORS).glob("*.arrow"), key=lambda path: (len(path.name), path)
        )
        tables = [
            schema.validate(read_file(path), schema.ERRORS, where=str(path)) for path in files
        ]
        rows = [table.select(schema.ERRORS.names).cast(schema.ERRORS) for table in tables]
        return pa.concat_tables([schema.ERRORS.empty_table(), *rows])

    def towers(self) -> list[str]:
        """Names of the towers whose hidden states are stored."""
        return tables_in(self.path / "states")

    def tower(self, name: str) -> TowerSpec:
        """Shape of a stored tower.

        Raises:
            UserError: if the tower is not stored, or its metadata are invalid.
        """
        stored = self._states(name).schema()
        metadata = self._metadata(name, stored)
        try:
            tower = TowerSpec.of_metadata(name, metadata)
            dtype = schema.states_dtype(stored, where=str(self.path / "states" / name))
            expected = schema.states(tower.layers, tower.width, dtype).field("states")
            if "states" not in stored.names or stored.field("states").type != expected.type:
                raise ValueError(
                    f"the states do not have {tower.layers} layers of width {tower.width}"
                )
            return tower
        except (ValueError, OverflowError) as error:
            raise UserError(
                f"{self.path / 'states' / name}: its metadata are broken ({error}); "
                "delete the folder and run prep encode again"
            ) from None

    def states_metadata(self, name: str) -> dict[str, str]:
        """Provenance of a stored tower: encoder, revision, layers, width, pooling, source and modality.

        Raises:
            UserError: if the tower is not stored, or its metadata are incomplete or not text.
        """
        return self._metadata(name, self._states(name).schema())

    def _metadata(self, name: str, stored: pa.Schema, kind: str = "states") -> dict[str, str]:
        try:
            metadata = {
                key.decode(): value.decode() for key, value in (stored.metadata or {}).items()
            }
        except UnicodeDecodeError as error:
            raise UserError(
                f"{self.path / kind / name}: its metadata are damaged ({error}); "
                "delete the folder and run prep encode again"
            ) from None
        missing = [key for key in _COLUMNS[kind] if key not in metadata]
        if missing:
            raise UserError(
                f"{self.path / kind / name}: metadata lack {missing}; run prep encode again"
            )
        return metadata

    def states_settings(self, name: str) -> dict[str, Any]:
        """All settings that a stored tower's states depend on (`toolkit.schema.settings_of`), with prep's keys.

        Tables of older versions lack `processor`. Tables that prep did not write have no settings.

        Raises:
            UserError: if the tower is not stored, or its record is broken.
        """
        where = str(self.path / "states" / name)
        return schema.settings_of(self._states(name).schema(), where=where)

    def states(self, name: str) -> "torch.Tensor":
        """Hidden states of a tower, (N + 1, K, D), read into memory; row 0 (padding) is zeros.

        The dtype is the stored one, usually float16.

        Raises:
            UserError: if the tower is not stored, or not for every item.
        """
        return self.state_table(name).load()

    def state_table(self, name: str) -> "StateTable":
        """Hidden states of a tower as a memory-mapped table that reads single rows.

        Raises:
            UserError: if the tower is not stored, or not for every item.
        """
        from toolkit.states import open_states  # prep's workers open datasets without torch

        self.tower(name)  # checks the metadata
        return open_states(self._states(name), items=self.items.num_rows)

    def token_towers(self) -> list[str]:
        """Names of the towers whose token states are stored."""
        return tables_in(self.path / "tokens")

    def tokens_metadata(self, name: str) -> dict[str, str]:
        """Provenance of a tower's token states: encoder, revision, layer, width, source, modality and others.

        Raises:
            UserError: if they are not stored, or their metadata are incomplete or not text.
        """
        return self._metadata(name, self._tokens(name).schema(), "tokens")

    def tokens_settings(self, name: str) -> dict[str, Any]:
        """All settings that a tower's token states depend on (`toolkit.schema.settings_of`), with prep's keys.

        Raises:
            UserError: if they are not stored, or their record is broken.
        """
        where = str(self.path / "tokens" / name)
        return schema.settings_of(self._tokens(name).schema(), where=where)

    def token_table(self, name: str) -> "TokenTable":
        """Token states of a tower as a memory-mapped table that reads single items.

        Raises:
            UserError: if they are not stored, or not for every item.
        """
        from toolkit.tokens import open_tokens  # prep's workers open datasets without torch

        self.tokens_metadata(name)
        return open_tokens(self._tokens(name), items=self.items.num_rows)

    def splits(
        self, protocol: ProtocolLike = "paper", max_len: int = 10, *, times: bool = False
    ) -> Splits:
        """Train, valid and test (`toolkit.splits.split_histories`).

        Args:
            protocol: a name, the path or content of a YAML file, or a `Protocol` (`toolkit.own_protocols.as_protocol`).
            max_len: L, inputs of the sequence encoder.
            times: whether the splits have the times of all their items.

        Raises:
            UserError: if the protocol or max_len is invalid, nothing can be trained on, or the protocol reads times and
                an interaction has none.
        """
        protocol, max_len = checked_cut(protocol, max_len)
        histories = self.histories(times=times or protocol.split.needs_times)
        return split_histories(
            histories,
            items=self.items.num_rows,
            protocol=protocol,
            max_len=max_len,
            times=times,
        )

    def histories(self, *, times: bool = False) -> UserHistories:
        """Every user's items in time order. They are read once per dataset and shared, so the arrays are read-only.

        Large arrays are mapped (`toolkit.large_arrays`), and the user ids are `toolkit.user_ids.UserIds`.

        Args:
            times: whether to read the time of each interaction.

        Raises:
            UserError: if there are no interactions, if times are wanted and missing, or if the table is damaged.
        """
        histories, _ = self._read_interactions
        refuse_no_interactions(histories)
        return histories._replace(times=self._times) if times else histories

    def timed_histories(self) -> UserHistories:
        """As `histories`, with times if every interaction has one."""
        return self.histories(times=not self._untimed)

    def interactions_sha256(self) -> str:
        """SHA-256 of the users and items of all interactions in order, which determine the splits.

        The two columns are hashed separately, so the hash does not depend on shards or batches.
        """
        _, sha256 = self._read_interactions
        return sha256

    @cached_property
    def _untimed(self) -> int:
        """How many interactions have no time."""
        batches = self._stored("interactions").batches(["timestamp_ms"])
        return sum(batch.column("timestamp_ms").null_count for batch in batches)

    @cached_property
    def _times(self) -> NDArray[np.int64]:
        """(V,) milliseconds since 1970, in the order of the interactions: equal times keep the order of the dump."""
        where = str(self.path / "interactions")
        if self._untimed:
            raise UserError(
                f"{where}: {self._untimed:,} interactions have no timestamp_ms; ingest a dump with a time for each "
                "interaction, or use a sequence encoder and a protocol that read no times (leave-one-out)"
            )
        collected = Collected(np.int64)
        for batch in self._stored("interactions").batches(["timestamp_ms"]):
            collected.add(batch.column("timestamp_ms").to_numpy())
        times = collected.joined()
        times.flags.writeable = False
        return times

    @cached_property
    def _read_interactions(self) -> tuple[UserHistories, str]:
        """The histories and the hash, from one pass with one batch in memory at a time."""
        digests = {name: hashlib.sha256() for name in ("user", "item")}

        def hashed() -> Iterator[pa.RecordBatch]:
            for batch in self._interaction_batches():
                for name, digest in digests.items():
                    digest.update(batch.column(name).to_numpy().astype("<i4", copy=False).data)
                yield batch

        histories = user_histories(hashed())
        for array in (histories.items, histories.bounds):
            array.flags.writeable = False
        whole = hashlib.sha256(b"".join(digest.digest() for digest in digests.values()))
        return histories, whole.hexdigest()

    def source(self, name: str, item_ids: Sequence[str] | None = None) -> pa.Array:
        """The input of a tower's encoder, one value per item; null if the item has none.

        Args:
            name: name of the source (`source_reader`).
            item_ids: ids of the items to read, in order; by default items 1..N. An unknown id reads as null.

        Raises:
            UserError: if the source is unknown or not stored.
        """
        if item_ids is None:
            return self.source_reader(name).read(np.arange(1, self.items.num_rows + 1))
        ids = as_ids(item_ids, what="item_ids", one="item id")
        return self.source_reader(name).read(self.item_ids.find(ids))

    def source_reader(self, name: str) -> SourceReader:
        """The reader of a source by item number. It is built once per dataset and source.

        Args:
            name: `title` or the name of captions for text; `cover` for JPEG bytes; `frames` for lists of JPEG bytes;
                `concat:title+image_caption` for joined texts.

        Raises:
            UserError: if the source is unknown or not stored.
        """
        if name not in self._readers:
            self._readers[name] = SourceReader(self, name)
        return self._readers[name]

    def _interaction_batches(self) -> Iterator[pa.RecordBatch]:
        columns = ["user_id", "user", "item"]
        expected = pa.schema([schema.INTERACTIONS.field(name) for name in columns])
        where, items = str(self.path / "interactions"), self.items.num_rows
        for batch in self._stored("interactions").batches(columns):
            schema.validate(batch, expected, where=where)
            numbers = batch.column("item").to_numpy()
            if len(numbers) and not 1 <= numbers.min() <= numbers.max() <= items:
                wrong = numbers[(numbers < 1) | (numbers > items)][0]
                raise UserError(
                    f"{where}: a row has item {wrong}, but items are numbered 1..{items}; the file is damaged or from "
                    "another dataset: restore it, or build into a new folder"
                )
            yield batch

    def _table(self, folder: str, expected: pa.Schema) -> pa.Table:
        return schema.validate(self._stored(folder).read(), expected, where=str(self.path / folder))

    def _stored(self, folder: str) -> Table:
        """A table that checks its shards against the names and sizes in the manifest."""
        refuse_other_kind(self.path, self.kind)
        refuse = partial(refuse_other_files, self.path, folder, self._checksums)
        return Table(self.path / folder, refuse=refuse if self._checksums else None)

    def _states(self, name: str) -> Table:
        table = self._stored(f"states/{name}")
        if not table.exists():
            raise UserError(
                f"{self.path}: no hidden states for tower {name!r} (stored: {self.towers() or 'none'}); configure its "
                "encoder under `encode:` and run prep encode"
            )
        return table

    def _tokens(self, name: str) -> Table:
        table = self._stored(f"tokens/{name}")
        if not table.exists():
            raise UserError(
                f"{self.path}: no token states for tower {name!r} (stored: {self.token_towers() or 'none'}); store them "
                f"with prep encode and --encode.{name}.tokens LAYER"
            )
        return table
