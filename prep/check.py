"""Is a dataset whole? Every table against its schema, against the items, and against `errors/`."""

from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple, get_args

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from prep import manifest
from prep.interactions import positions
from prep.pipeline import errors_of
from prep.states import all_finite
from toolkit import Dataset, open_dataset, schema
from toolkit.errors import UserError
from toolkit.store import Table, read_file

MEDIA = {"covers": schema.COVERS, "frames": schema.FRAMES}
NO_ROW_AN_ITEM = ("ingest", "comments")  # steps whose tables do not have one


def check(dataset: str | Path) -> list[str]:
    """Reasons why a dataset is broken or unfinished; an empty list if it is neither.

    Args:
        dataset: its folder.
    """
    try:
        data = open_dataset(dataset)
        reasons = [
            *_check_manifest(data),
            *_check_interactions(data),
            *_check_comments(data),
        ]
    except UserError as error:
        return [str(error)]
    for name in _item_tables(data):
        try:
            reasons += _check_item_table(data, name)
        except UserError as error:
            reasons.append(str(error))
    return reasons


class Counts(NamedTuple):
    """How much a table holds.

    Args:
        rows: in it.
        words: how many of its rows have which status; of a table that has not one row an item, how many lines of
            the dump were left out, and why.
    """

    rows: int
    words: Counter[str]


def count(dataset: str | Path) -> dict[str, Counts]:
    """The counts of a dataset's tables, by name.

    Raises:
        UserError: if it cannot be opened.
    """
    data = open_dataset(dataset)
    rows = sum(batch.num_rows for batch in Table(data.path / "interactions").batches(["user"]))
    tables = {
        "items": Counts(data.items.num_rows, _told(data, "ingest")),
        "interactions": Counts(rows, Counter()),
    }
    if Table(data.path / "comments").exists():
        tables["comments"] = Counts(data.comments.num_rows, _told(data, "comments"))
    for name in _item_tables(data):
        rows = Table(data.path / name).read().num_rows
        told = _told(data, step_of(name))
        tables[name] = Counts(rows, Counter(ok=rows - told.total()) + told)
    return tables


def describe(tables: Mapping[str, Counts]) -> str:
    """Counts as a small table for reading."""
    width = max(map(len, tables))
    return "\n".join(
        f"{name:<{width}}  {table.rows:>11,}  {_words(table.words)}".rstrip()
        for name, table in tables.items()
    )


def _told(data: Dataset, step: str) -> Counter[str]:
    return Counter(errors_of(data.path, step).column("error_class").to_pylist())


def _words(counts: Counter[str]) -> str:
    return ", ".join(f"{count:,} {word}" for word, count in counts.most_common())


def _item_tables(data: Dataset) -> list[str]:
    """Folders of the tables with one row an item that are there or that a step says it wrote."""
    steps = data.manifest.get("steps", {})
    recorded = [_folder_of(step) for step, entry in steps.items() if "skipped" not in entry]
    stored = [name for name in MEDIA if Table(data.path / name).exists()]
    stored += [f"captions/{name}" for name in data.caption_names()]
    stored += [f"states/{tower}" for tower in data.towers()]
    return sorted({*recorded, *stored} - set(NO_ROW_AN_ITEM))


def _folder_of(step: str) -> str:
    return step.replace("encode:", "states/", 1).replace("caption:", "captions/", 1)


def step_of(folder: str) -> str:
    """The step that writes a table, as `errors/` and `dataset.json` call it."""
    return folder.replace("states/", "encode:", 1).replace("captions/", "caption:", 1)


def _check_manifest(data: Dataset) -> Iterator[str]:
    if "ingest" not in data.manifest.get("steps", {}):
        yield "dataset.json does not record step ingest"
    for name in _item_tables(data):
        if step_of(name) not in data.manifest.get("steps", {}):
            yield f"step {step_of(name)} has not finished; run prep again to go on"
    for name in data.manifest.get("config", {}).get("caption", {}):
        if f"caption:{name}" not in data.manifest.get("steps", {}):
            yield f"captions {name!r} are configured and not made; run: python -m prep caption {data.path}"
    for tower in manifest.configured_towers(data.manifest):
        if f"encode:{tower}" not in data.manifest.get("steps", {}):
            yield f"tower {tower!r} is configured and not encoded; run: python -m prep encode {data.path}"
    classes = set(data.errors.column("step").to_pylist())
    known = {*NO_ROW_AN_ITEM, *map(step_of, _item_tables(data))}
    if classes - known:
        yield f"errors/ has rows of {sorted(classes - known)}, whose tables are not there"


def _check_interactions(data: Dataset) -> Iterator[str]:
    """One batch at a time: there may be more interactions than memory holds."""
    table = Table(data.path / "interactions")
    counts = {"users": 0, "items": data.items.num_rows, "interactions": 0}
    position, wrong = -1, Counter[str]()
    for batch in table.batches(schema.INTERACTIONS.names):
        schema.validate(pa.table(batch), schema.INTERACTIONS, where=str(table.folder))
        if batch.num_rows == 0:
            continue
        user, item, places = (batch.column(n).to_numpy() for n in ("user", "item", "position"))
        steps = np.diff(user, prepend=np.int32(counts["users"]))
        expected = positions(user) + np.where(user == counts["users"], position + 1, 0)
        wrong[f"items outside of 1..{counts['items']}"] += int(
            ((item < 1) | (item > counts["items"])).sum()
        )
        wrong["users not numbered 1..U in order"] += int((~np.isin(steps, (0, 1))).sum())
        wrong["positions that do not count 0, 1, 2, ... for each user"] += int(
            (places != expected).sum()
        )
        counts["users"], position = int(user[-1]), int(places[-1])
        counts["interactions"] += len(user)
    yield from (
        f"interactions: {count:,} rows with {what}" for what, count in wrong.items() if count
    )
    if data.manifest.get("counts") != counts:
        yield f"dataset.json says {data.manifest.get('counts')}, the tables hold {counts}"


def _check_comments(data: Dataset) -> Iterator[str]:
    step = data.manifest.get("steps", {}).get("comments", {})
    if step.get("rows") is None and not Table(data.path / "comments").exists():
        return
    ids = data.comments.column("item_id")
    strangers = pc.sum(pc.invert(pc.is_in(ids, data.items.column("item_id")))).as_py() or 0
    if strangers:
        yield f"comments: {strangers} rows are of no known item"
    if step.get("rows") != len(ids):
        yield f"comments: {len(ids)} rows, dataset.json says {step.get('rows', 'unfinished')}; run prep again"


def _check_item_table(data: Dataset, name: str) -> list[str]:
    table = Table(data.path / name).read()
    reasons = [f"{name}: {reason}" for reason in _rows_against_items(data, table)]
    expected = schema.CAPTIONS if name.startswith("captions/") else MEDIA.get(name)
    if expected:
        schema.validate(table, expected, where=name)
        status = dict(zip(table["item_id"].to_pylist(), table["status"].to_pylist(), strict=True))
        unknown = set(status.values()) - set(get_args(schema.Status))
        reasons += [
            f"{name}: status {word!r} is none of the known ones" for word in sorted(unknown)
        ]
        reasons += _against_errors(data, name, status)
        if name.startswith("captions/"):
            reasons += _silent_captions(name, table)
    else:
        reasons += _check_states(data, name)
    return reasons


def _silent_captions(name: str, table: pa.Table) -> Iterator[str]:
    blank = pc.equal(pc.utf8_trim_whitespace(pc.fill_null(table["text"], "")), "")
    silent = pc.sum(pc.and_(pc.equal(table["status"], "ok"), blank)).as_py()
    if silent:
        yield f"{name}: {silent} captions are ok and have no text"


def _rows_against_items(data: Dataset, table: pa.Table) -> Iterator[str]:
    ids = table.column("item_id")
    twice = ids.length() - pc.count_distinct(ids).as_py()
    absent = pc.invert(pc.is_in(data.items.column("item_id"), ids))
    strangers = pc.invert(pc.is_in(ids, data.items.column("item_id")))
    for what, count in {
        "rows stand for an item that has another row": twice,
        "items have no row; run prep again to go on": pc.sum(absent).as_py(),
        "rows are of no known item": pc.sum(strangers).as_py(),
    }.items():
        if count:
            yield f"{count} {what}"


def _against_errors(data: Dataset, name: str, status: dict[str, str]) -> Iterator[str]:
    """Every row that is not ok has exactly one row in `errors/`, with the same word."""
    told: dict[str, list[str]] = {}
    for row in errors_of(data.path, step_of(name)).to_pylist():
        told.setdefault(row["item_id"], []).append(row["error_class"])
    for item_id in sorted({*status, *told}):
        word = status.get(item_id, "no row")
        expected = [] if word == "ok" else [word]
        if told.get(item_id, []) != expected:
            yield f"{name}: item {item_id!r} is {word}, and errors/ says {told.get(item_id, [])}"


def _check_states(data: Dataset, name: str) -> Iterator[str]:
    tower = name.removeprefix("states/")
    spec = data.tower(tower)
    stored = Table(data.path / name).read()
    dtype = schema.states_dtype(stored.schema, where=name)
    schema.validate(stored, schema.states(spec.layers, spec.width, dtype), where=name)
    errors = errors_of(data.path, step_of(name)).column("item_id")
    for shard in Table(data.path / name).shards():
        table: Any = read_file(shard.path)
        numbers = pc.index_in(table.column("item_id"), data.items.column("item_id")).to_numpy() + 1
        if not np.array_equal(numbers, table.column("item").to_numpy()):
            yield f"{name}: {shard.path.name} numbers its items otherwise than items/ does"
        for batch in table.to_batches():
            states = batch.column("states").flatten().to_numpy().reshape(batch.num_rows, -1)
            if not all_finite(states, dtype):
                yield f"{name}: {shard.path.name} holds states that are not finite"
            failed = pc.is_in(batch.column("item_id"), errors.combine_chunks())
            if states[np.asarray(failed)].any():
                yield f"{name}: {shard.path.name} has states for items that errors/ lists as failed"
    if pc.count_distinct(errors).as_py() != len(errors):
        yield f"{name}: errors/ lists an item more than once"
