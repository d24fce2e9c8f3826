"""Whether a dataset is the one that a run was trained on: the one place that answers it.

Training on resume, evaluate, recommend, export, report and efficiency call `refuse_other_data` or `other_data`; compare
calls `differing_data` on the records of two runs. Identity is content, not a path: a dataset may move.

A run's settings enter as two arguments: `towers`, the names of the towers that it reads, and `states`, whether it reads
them as prep `stored` them or runs the encoders `live`.
"""

import hashlib
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np

from models.inputs.provenance import describe_towers
from models.machine.parallel import rank_and_world
from models.runs.files import CONFIG, ENVIRONMENT, read_environment
from toolkit.backbones import EncoderSpec
from toolkit.dataset import Dataset, open_dataset
from toolkit.digests import remembered
from toolkit.errors import UserError
from toolkit.json_files import MANIFEST
from toolkit.store import Table, read_file

ITEMS = "items_sha256"
INTERACTIONS = "interactions_sha256"  # runs of older versions do not have it
_STATES = (
    "states_sha256"  # of a tower whose stored states are read; absent in runs of older versions
)
_SOURCE = (
    "source_sha256"  # of the content that a live encoder reads; absent in runs of older versions
)
_WORDS = {INTERACTIONS: "interactions", _STATES: "hidden states", _SOURCE: "content"}
_NOT_OF_STATES = ("dtype", "items", "layers")  # how they are stored; `kept` names the layers
# Every version that records the provenance of states records these, so that an absent one was not set.
_ALWAYS = ("encoder", "revision", "source", "modality", "pooling", "kept", "precision", "quantize", "captions",
           "max_tokens", "lowercase")  # fmt: skip
_SOURCES_AT_ONCE = 1024
Fact = tuple[str, Callable[[], Any]]
States = Literal["stored", "live"]


def describe_data(
    dataset: Dataset,
    *,
    towers: Sequence[str],
    states: States,
    encoders: Mapping[str, EncoderSpec] | None = None,
) -> dict[str, Any]:
    """Everything in a dataset that a run depends on, as environment.json keeps it under `dataset`.

    Returns:
        `items_sha256` over the item ids in order; for each tower, the provenance of its states and
        `tower NAME states_sha256` of the states themselves (`source_sha256` of the encoder's input, where states are
        live); `media …`, the settings of the pictures behind them; and `interactions_sha256`.
    """
    return {key: compute() for key, compute in _facts(dataset, towers, states, encoders or {})}


def refuse_other_data(
    run: Path,
    dataset: Dataset,
    *,
    towers: Sequence[str],
    states: States,
    encoders: Mapping[str, EncoderSpec] | None = None,
) -> None:
    """Refuses a dataset that is not the one that a run was trained on, by content.

    Args:
        run: run folder.
        dataset: the dataset to be read.
        towers: names of the towers that the run reads.
        states: `stored` or `live`.
        encoders: by tower, those that the run trains.

    Raises:
        UserError: naming the first difference.
    """
    difference = other_data(run, dataset, towers=towers, states=states, encoders=encoders)
    if difference is not None:
        raise UserError(difference)


def refuse_to_resume_on_other_data(
    run: Path,
    dataset: Dataset,
    *,
    towers: Sequence[str],
    states: States,
    encoders: Mapping[str, EncoderSpec] | None = None,
) -> None:
    """`refuse_other_data` where training has begun: a run without environment.json has made no step.

    Raises:
        UserError: as `refuse_other_data` does.
    """
    if (run / ENVIRONMENT).exists():
        refuse_other_data(run, dataset, towers=towers, states=states, encoders=encoders)


def other_data(
    run: Path,
    dataset: Dataset,
    *,
    towers: Sequence[str],
    states: States,
    encoders: Mapping[str, EncoderSpec] | None = None,
) -> str | None:
    """How a dataset differs from the one that a run was trained on, as a message; None where it is the same.

    Runs of older versions did not record all of it: what cannot be checked is named on stderr.
    """
    then = read_environment(run)["dataset"]
    encoders = encoders or {}
    facts = dict(_facts(dataset, towers, states, encoders))
    whole = any(key.endswith((f" {_STATES}", f" {_SOURCE}")) for key in then)
    gone = [key for key in then if key.rpartition(" ")[2] in _ALWAYS and key not in facts]
    for key, compute in [*facts.items(), *((key, lambda: None) for key in gone)]:
        last = key.rpartition(" ")[2]
        if key in then or (whole and last in _ALWAYS):
            now = compute()
            if then.get(key) != now:
                return _differs(run, key, then.get(key), now, dataset)
    unknown = [
        " ".join([*key.split()[:-1], _WORDS[key.split()[-1]]])
        for key in facts
        if key not in then and key.split()[-1] in _WORDS
    ]
    for name in (
        name for name in towers if name not in encoders
    ):  # as older versions recorded them
        recorded, now = then.get(f"tower {name}"), _encoder_of(dataset.states_metadata(name))
        if recorded not in (None, now):
            return _differs(run, f"tower {name}", recorded, now, dataset)
    if unknown and rank_and_world()[0] == 0:
        print(
            f"{run}: an older Versa trained it, so it is not known whether these are unchanged: {', '.join(unknown)}",
            file=sys.stderr,
        )
    return None


def refuse_other_states(
    run: Path,
    dataset: Dataset,
    made_with: dict[str, Any],
    *,
    towers: Sequence[str],
    encoders: Mapping[str, EncoderSpec] | None = None,
) -> None:
    """Refuses another dataset whose states differ in provenance from those that the model was trained on.

    Args:
        run: run folder.
        dataset: the other dataset.
        made_with: provenance of the states that the model was trained on (`models.inputs.provenance`).
        towers: names of the towers that the run reads.
        encoders: by tower, those that the run trains.

    Raises:
        UserError: if the provenance differs, or that of the model is not known.
    """
    if not made_with:
        raise UserError(
            f"{run}: an older Versa trained it, and does not say what its towers' states were made with; "
            "train again, or leave --data out"
        )
    then = dict(_settings(made_with))
    now = dict(_settings(describe_towers(dataset, towers, encoders=encoders)))
    for key in sorted({*then, *now}):
        both = key in then and key in now
        must = key.startswith("media ") or key.rpartition(" ")[2] in _ALWAYS
        if then.get(key) != now.get(key) and (both or must):
            raise UserError(
                f"{run}: trained on states with {key} {then.get(key)!r}, and {dataset.path} has "
                f"{now.get(key)!r}; the model reads none but such states: encode that dataset with the same settings"
            )


def differing_data(first: dict[str, Any], other: dict[str, Any]) -> list[str]:
    """The parts of their data that two runs recorded differently: `items`, `interactions`.

    Their towers may differ: comparing towers is what runs are compared for.
    """
    words = {ITEMS: "items", INTERACTIONS: "interactions"}
    return [
        word
        for key, word in words.items()
        if key in first and key in other and first[key] != other[key]
    ]


def open_data(run: Path, data: str | Path) -> Dataset:
    """Opens the dataset of a run.

    Args:
        run: run folder, for the message.
        data: the dataset's path in the run's config.

    Raises:
        UserError: if it holds no dataset.
    """
    if not (Path(data) / MANIFEST).exists():
        raise UserError(
            f"{run / CONFIG}: its data, {data}, is no dataset (any more); if it has moved, say where it lies "
            "now: --data DATASET"
        )
    return open_dataset(data)


def _facts(
    dataset: Dataset,
    towers: Sequence[str],
    states: States,
    encoders: Mapping[str, EncoderSpec],
) -> Iterator[Fact]:
    """What identifies the data of a run, the cheapest first, so that a difference is found early."""
    yield ITEMS, lambda: hashlib.sha256("\n".join(dataset.item_ids.ids).encode()).hexdigest()
    for key, value in _settings(describe_towers(dataset, towers, encoders=encoders)):
        yield key, lambda value=value: value  # type: ignore[misc]
    yield INTERACTIONS, dataset.interactions_sha256
    live = states == "live"
    for name in towers:
        if name in encoders:
            source = encoders[name].source
        elif live:
            source = dataset.states_metadata(name)["source"]
        else:
            yield f"tower {name} {_STATES}", partial(_states_sha256, dataset, name)
            continue
        yield f"tower {name} {_SOURCE}", partial(_source_sha256, dataset, source)


def _settings(made_with: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    """The settings that states depend on, by their name in messages."""
    for name, tower in made_with.get("encode", {}).items():
        for key, value in tower.items():
            if key not in _NOT_OF_STATES:
                yield f"tower {name} {key}", value
    for key, value in made_with.get("media", {}).items():
        yield f"media {key}", value


def _states_sha256(dataset: Dataset, tower: str) -> str:
    """The sum of the SHA-256 of each item's states, which depends neither on shards nor on their order."""
    shards = Table(dataset.path / "states" / tower).shards()
    parts = (int(remembered(shard.path, "rows", _rows_sha256), 16) for shard in shards)
    return f"{sum(parts) % 2**256:064x}"


def _rows_sha256(path: Path) -> str:
    """The sum, modulo 2^256, of the SHA-256 of each row's item number and states."""
    total = 0
    for batch in read_file(path, ["item", "states"]).to_batches():
        numbers = batch.column("item").to_numpy().astype("<i4")
        values = batch.column("states").flatten()
        rows = np.frombuffer(values.buffers()[1], np.uint8)
        start, size = (
            values.offset * values.type.bit_width // 8,
            len(values) * values.type.bit_width // 8,
        )
        rows = rows[start : start + size].reshape(len(numbers), -1)
        for number, row in zip(numbers, rows, strict=True):
            digest = hashlib.sha256(number.tobytes())
            digest.update(row.data)
            total += int.from_bytes(digest.digest())
    return f"{total % 2**256:064x}"


def _source_sha256(dataset: Dataset, source: str) -> str:
    """SHA-256 of the content that an encoder reads, of all items in order."""
    digest = hashlib.sha256()
    reader, numbers = dataset.source_reader(source), range(1, dataset.items.num_rows + 1)
    for start in range(0, len(numbers), _SOURCES_AT_ONCE):
        for value in reader.read(numbers[start : start + _SOURCES_AT_ONCE]).to_pylist():
            digest.update(_value_sha256(value))
    return digest.hexdigest()


def _value_sha256(value: str | bytes | list[bytes] | None) -> bytes:
    if isinstance(value, list):  # frames
        return hashlib.sha256(b"".join(map(_value_sha256, value))).digest()
    data = value.encode() if isinstance(value, str) else value
    return hashlib.sha256(b"absent" if data is None else b"=" + data).digest()


def _encoder_of(metadata: dict[str, str]) -> str:
    """A tower's metadata as older versions recorded them."""
    keys = ("encoder", "revision", "kept", "pooling", "precision", "dtype", "source", "captions")
    return ", ".join(f"{key}={metadata[key]}" for key in keys if key in metadata)


def _differs(run: Path, key: str, then: Any, now: Any, dataset: Dataset) -> str:
    cure = "restore that dataset, say with --data where it lies, or train again"
    *tower, last = key.split()
    if last in _WORDS:
        what = " ".join([_WORDS[last], *(["of", *tower] if tower else [])])
        return f"{run}: trained on other {what} than {dataset.path} has now ({last} {then}, and now {now}); {cure}"
    return f"{run}: trained on {key}={then}, and {dataset.path} now has {last}={now}; {cure}"
