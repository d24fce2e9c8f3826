"""Checks whether a dataset is the one that a run was trained on.

Training on resume, evaluate, recommend, export, report and efficiency call `refuse_other_data` or `other_data`; compare
calls `differing_data` on the records of two runs. Identity is content, not a path: a dataset may move.
"""

import hashlib
import sys
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.compute as pc

from models.inputs.provenance import describe_towers, pictures_of
from models.inputs.reads import Reads
from models.machine.parallel import rank_and_world
from models.runs.files import CONFIG, ENVIRONMENT, read_environment
from toolkit.dataset import Dataset, open_dataset
from toolkit.digests import remembered
from toolkit.errors import UserError
from toolkit.json_files import MANIFEST
from toolkit.store import Table, read_file, read_schema

ITEMS = "items_sha256"
# Runs of older versions lack the next three.
INTERACTIONS = "interactions_sha256"
_STATES = "states_sha256"  # of a tower's stored states
_SOURCE = "source_sha256"  # of the content that a live encoder reads
_TIMES = "times_sha256"  # of the interactions' times, if the sequence encoder reads them
_TOKENS = "tokens_sha256"  # of the token states that a trained encoder reads
_NAMES = {
    INTERACTIONS: "interactions",
    _TIMES: "times of interactions",
    _STATES: "hidden states",
    _SOURCE: "content",
    _TOKENS: "token states",
}
_STORAGE = ("dtype", "items", "layers")  # storage settings; `kept` names the layers
# Every version that records provenance records these keys: a missing key means that it was not set.
_ALWAYS = ("encoder", "revision", "source", "modality", "pooling", "kept", "precision", "quantize", "captions",
           "max_tokens", "lowercase", "frame_count", "crop_px")  # fmt: skip
_SOURCE_BATCH = 1024  # items per read
Fact = tuple[str, Callable[[], Any]]


def describe_data(dataset: Dataset, reads: Reads) -> dict[str, Any]:
    """Everything in a dataset that a run depends on, as environment.json records it under `dataset`.

    Returns:
        `items_sha256` of the item ids in order; per tower, the provenance of its states and
        `tower NAME states_sha256` of the states (for live states, `source_sha256` of the encoder's input);
        `media …`, the settings of the pictures that the towers depend on; and `interactions_sha256`.
    """
    return {key: compute() for key, compute in _facts(dataset, reads)}


def refuse_other_data(run: Path, dataset: Dataset, reads: Reads) -> None:
    """Refuses a dataset whose content differs from that of the run's training data.

    Args:
        run: run folder.
        dataset: dataset to check.
        reads: what the run reads.

    Raises:
        UserError: naming the first difference.
    """
    difference = other_data(run, dataset, reads)
    if difference is not None:
        raise UserError(difference)


def refuse_to_resume_on_other_data(run: Path, dataset: Dataset, reads: Reads) -> None:
    """Like `refuse_other_data`, but accepts a run without environment.json, which has not trained a step.

    Raises:
        UserError: as `refuse_other_data` does.
    """
    if (run / ENVIRONMENT).exists():
        refuse_other_data(run, dataset, reads)


def other_data(run: Path, dataset: Dataset, reads: Reads) -> str | None:
    """A message with the first difference between a dataset and the run's training data; None if there is none.

    Runs of older versions lack some records. The parts that cannot be checked are listed on stderr.
    """
    then = read_environment(run)["dataset"]
    facts = dict(_facts(dataset, reads))
    whole = any(key.endswith((f" {_STATES}", f" {_SOURCE}", f" {_TOKENS}")) for key in then)
    missing = [key for key in then if key.rpartition(" ")[2] in _ALWAYS and key not in facts]
    for key, compute in [*facts.items(), *((key, lambda: None) for key in missing)]:
        last = key.rpartition(" ")[2]
        if key in then or (whole and last in _ALWAYS):
            now = compute()
            if then.get(key) != now:
                return _differs(run, key, then.get(key), now, dataset)
    unknown = [
        " ".join([*key.split()[:-1], _NAMES[key.split()[-1]]])
        for key in facts
        if key not in then and key.split()[-1] in _NAMES
    ]
    stored = (name for name in reads.towers if name not in reads.encoders)
    for name in stored:  # older versions recorded a tower in one line
        recorded, now = then.get(f"tower {name}"), _encoder_of(dataset.states_metadata(name))
        if recorded not in (None, now):
            return _differs(run, f"tower {name}", recorded, now, dataset)
    if unknown and rank_and_world()[0] == 0:
        print(
            f"{run}: an older Versa trained this run and did not record checksums of {', '.join(unknown)}; cannot check "
            "whether they have changed",
            file=sys.stderr,
        )
    return None


def tower_with_other_states(run: Path, dataset: Dataset) -> str | None:
    """A tower whose stored states or token states are not those that a run was trained on; None if there is none.

    Their digests are remembered, so this costs less than `other_data`.
    """
    folders = {_STATES: "states", _TOKENS: "tokens"}
    for key, recorded in read_environment(run)["dataset"].items():
        name, last = key.removeprefix("tower ").rpartition(" ")[::2]
        if last not in folders:
            continue
        folder = f"{folders[last]}/{name}"
        stored = Table(dataset.path / folder).exists()
        if not stored or _states_sha256(dataset, folder) != recorded:
            return name
    return None


def refuse_other_states(
    run: Path, dataset: Dataset, made_with: dict[str, Any], reads: Reads
) -> None:
    """Refuses another dataset if its states have another provenance than those that the model was trained on.

    Args:
        run: run folder.
        dataset: the other dataset.
        made_with: provenance of the states that the model was trained on (`models.inputs.provenance`).
        reads: what the run reads.

    Raises:
        UserError: if the provenance differs, or the model does not record its own.
    """
    if not made_with:
        raise UserError(
            f"{run}: an older Versa trained this run and did not record the provenance of its states, so another dataset "
            "cannot be checked; train again, or leave out --data"
        )
    difference = differing_states(made_with, describe_towers(dataset, reads))
    if difference is not None:
        key, then, now = difference
        raise UserError(
            f"{run}: trained on states with {key} {then!r}, but {dataset.path} has {now!r}; the model requires states of "
            "the same provenance: encode that dataset with the same settings"
        )


def differing_states(
    first: Mapping[str, Any], other: Mapping[str, Any], *, tower: str | None = None
) -> tuple[str, Any, Any] | None:
    """The first setting in which the provenance of states differs: its name and both values; None if there is none.

    Args:
        first: provenance of the states of some towers (`models.inputs.provenance`).
        other: of others.
        tower: the only tower to compare, with the pictures that it reads; by default all.
    """
    then, now = (dict(_settings(_of_tower(one, tower))) for one in (first, other))
    for key in sorted({*then, *now}):
        both = key in then and key in now
        must = key.startswith("media ") or key.rpartition(" ")[2] in _ALWAYS
        if then.get(key) != now.get(key) and (both or must):
            return key, then.get(key), now.get(key)
    return None


def _of_tower(provenance: Mapping[str, Any], tower: str | None) -> dict[str, Any]:
    """The provenance of one tower, with the settings of pictures if it reads any; of all if none is named."""
    if tower is None:
        return dict(provenance)
    encode = {name: one for name, one in provenance.get("encode", {}).items() if name == tower}
    media = pictures_of(provenance, tower)
    return {"encode": encode, "media": media}


def differing_data(first: dict[str, Any], other: dict[str, Any]) -> list[str]:
    """The parts of the data that differ between the records of two runs: `items`, `interactions`.

    Towers may differ, because comparisons of runs compare towers.
    """
    names = {ITEMS: "items", INTERACTIONS: "interactions"}
    return [
        name
        for key, name in names.items()
        if key in first and key in other and first[key] != other[key]
    ]


def open_data(run: Path, data: str | Path) -> Dataset:
    """Opens the dataset of a run.

    Args:
        run: run folder, for the message.
        data: the dataset's path in the run's config.

    Raises:
        UserError: if there is no dataset at that path.
    """
    if not (Path(data) / MANIFEST).exists():
        raise UserError(
            f"{run / CONFIG}: data = {data} is not a dataset; if the dataset has moved, pass its path with --data DATASET"
        )
    return open_dataset(data)


def _facts(dataset: Dataset, reads: Reads) -> Iterator[Fact]:
    """The facts that identify the data of a run, the cheapest first."""
    yield ITEMS, lambda: hashlib.sha256("\n".join(dataset.item_ids.ids).encode()).hexdigest()
    for key, value in _settings(describe_towers(dataset, reads)):
        yield key, lambda value=value: value  # type: ignore[misc]
    yield INTERACTIONS, dataset.interactions_sha256
    if reads.times:
        yield _TIMES, partial(_times_sha256, dataset)
    for name in reads.towers:
        if name in reads.tokens:
            yield f"tower {name} {_TOKENS}", partial(_states_sha256, dataset, f"tokens/{name}")
        if name in reads.encoders:
            source = reads.encoders[name].source
        elif reads.states == "live":
            source = dataset.states_metadata(name)["source"]
        else:
            yield f"tower {name} {_STATES}", partial(_states_sha256, dataset, f"states/{name}")
            continue
        yield f"tower {name} {_SOURCE}", partial(_source_sha256, dataset, source)


def _settings(provenance: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    """The settings that states depend on, by their name in messages."""
    for name, tower in provenance.get("encode", {}).items():
        for key, value in tower.items():
            if key not in _STORAGE:
                yield f"tower {name} {key}", value
    for key, value in provenance.get("media", {}).items():
        yield f"media {key}", value


def _times_sha256(dataset: Dataset) -> str:
    """SHA-256 of the time of every interaction, in the order of `Dataset.interactions_sha256`."""
    times = dataset.histories(times=True).times
    return hashlib.sha256(np.ascontiguousarray(times, "<i8").data).hexdigest()


def _states_sha256(dataset: Dataset, folder: str) -> str:
    """The sum of the SHA-256 of each item's states, which does not depend on shards or their order.

    Args:
        dataset: the dataset.
        folder: of the table, in the dataset.
    """
    shards = Table(dataset.path / folder).shards()
    parts = (int(remembered(shard.path, "rows", _rows_sha256), 16) for shard in shards)
    return f"{sum(parts) % 2**256:064x}"


def _rows_sha256(path: Path) -> str:
    """The sum, modulo 2^256, of the SHA-256 of each row's item number and states or token states."""
    total = 0
    column = next(name for name in ("states", "tokens") if name in read_schema(path).names)
    for batch in read_file(path, ["item", column]).to_batches():
        numbers = batch.column("item").to_numpy().astype("<i4")
        lists = batch.column(column)
        values = lists.flatten()
        width = values.type.bit_width // 8
        sizes = pc.list_value_length(lists).to_numpy().astype(np.int64) * width
        buffer = np.frombuffer(values.buffers()[1], np.uint8)
        ends = values.offset * width + np.cumsum(sizes)
        for number, end, size in zip(numbers, ends.tolist(), sizes.tolist(), strict=True):
            digest = hashlib.sha256(number.tobytes())
            digest.update(buffer[end - size : end].data)
            total += int.from_bytes(digest.digest())
    return f"{total % 2**256:064x}"


def _source_sha256(dataset: Dataset, source: str) -> str:
    """SHA-256 of the content that an encoder reads, over all items in order."""
    digest = hashlib.sha256()
    reader, numbers = dataset.source_reader(source), range(1, dataset.items.num_rows + 1)
    for start in range(0, len(numbers), _SOURCE_BATCH):
        for value in reader.read(numbers[start : start + _SOURCE_BATCH]).to_pylist():
            digest.update(_value_sha256(value))
    return digest.hexdigest()


def _value_sha256(value: str | bytes | list[bytes] | None) -> bytes:
    if isinstance(value, list):  # frames
        return hashlib.sha256(b"".join(map(_value_sha256, value))).digest()
    data = value.encode() if isinstance(value, str) else value
    return hashlib.sha256(b"absent" if data is None else b"=" + data).digest()


def _encoder_of(metadata: dict[str, str]) -> str:
    """A tower's metadata in the form that older versions recorded."""
    keys = ("encoder", "revision", "kept", "pooling", "precision", "dtype", "source", "captions")
    return ", ".join(f"{key}={metadata[key]}" for key in keys if key in metadata)


def _differs(run: Path, key: str, then: Any, now: Any, dataset: Dataset) -> str:
    fix = "restore the dataset, pass its path with --data, or train again"
    *tower, last = key.split()
    if last in _NAMES:
        part = " ".join([_NAMES[last], *(["of", *tower] if tower else [])])
        return f"{run}: trained on other {part} than {dataset.path} has now ({last} was {then}, is {now}); {fix}"
    return f"{run}: trained on {key}={then}, but {dataset.path} now has {last}={now}; {fix}"
