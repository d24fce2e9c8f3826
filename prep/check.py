"""Validates a dataset: every file against its checksum, every table against its schema, the items and `errors/`.

No check creates a Python object per row: a million items take seconds, with one shard in memory at a time.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import NamedTuple, get_args

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from prep.checks.files import check_files
from prep.checks.rows import against_errors, tally
from prep.faces.check import check_faces, count_faces
from prep.numbering.interactions import positions
from prep.steps import manifest
from prep.steps.checksums import step_of, tables_of
from prep.steps.pipeline import errors_of
from prep.towers.rows import all_finite
from toolkit import Dataset, open_dataset, schema
from toolkit.errors import UserError
from toolkit.faces import KIND as FACES
from toolkit.schema import StatesDtype
from toolkit.store import Table

MEDIA = {"covers": schema.COVERS, "frames": schema.FRAMES}
ValuesOfRows = Callable[[pa.RecordBatch], tuple[bool, NDArray[np.bool_]]]
NO_ROW_AN_ITEM = ("ingest", "comments")  # steps whose tables do not have one row per item


def check(dataset: str | Path) -> list[str]:
    """Lists the reasons why a dataset is broken or unfinished; an empty list if it is neither.

    Args:
        dataset: dataset folder.
    """
    try:
        data = open_dataset(dataset)
        reasons = check_files(data.path)
    except UserError as error:
        return [str(error)]
    for part in _PARTS.get(data.kind, _OF_INTERACTIONS):
        try:
            reasons += part(data)
        except UserError as error:
            reasons.append(str(error))
    return list(dict.fromkeys(reasons))


class Counts(NamedTuple):
    """Row counts of a table.

    Args:
        rows: number of rows.
        words: number of rows by status; for tables without one row per item, the number of lines of the dump
            that were left out, by error class.
    """

    rows: int
    words: Counter[str]


def count(dataset: str | Path) -> dict[str, Counts]:
    """The counts of a dataset's tables, by table name.

    Raises:
        UserError: if the dataset cannot be opened.
    """
    data = open_dataset(dataset)
    if data.kind in _COUNTS:
        return {name: Counts(*counts) for name, counts in _COUNTS[data.kind](data).items()}
    tables = {
        "items": Counts(data.items.num_rows, _errors(data, "ingest")),
        "interactions": Counts(_rows(data, "interactions", "user"), Counter()),
    }
    if Table(data.path / "comments").exists():
        tables["comments"] = Counts(_rows(data, "comments", "item_id"), _errors(data, "comments"))
    for name in _item_tables(data):
        rows, errors = _rows(data, name, "item_id"), _errors(data, step_of(name))
        tables[name] = Counts(rows, Counter(ok=rows - errors.total()) + errors)
    return tables


def describe(tables: Mapping[str, Counts]) -> str:
    """Formats counts as a text table."""
    width = max(map(len, tables))
    return "\n".join(
        f"{name:<{width}}  {table.rows:>11,}  {_listed(table.words)}".rstrip()
        for name, table in tables.items()
    )


def _rows(data: Dataset, name: str, column: str) -> int:
    return sum(batch.num_rows for batch in Table(data.path / name).batches([column]))


def _errors(data: Dataset, step: str) -> Counter[str]:
    return tally(errors_of(data.path, step).column("error_class"))


def _listed(counts: Counter[str]) -> str:
    return ", ".join(f"{count:,} {status}" for status, count in counts.most_common())


def _item_tables(data: Dataset) -> list[str]:
    """Folders of the tables with one row per item that exist or that a finished step recorded."""
    steps = data.manifest.get("steps", {})
    done = [step for step, entry in steps.items() if "skipped" not in entry]
    recorded = [tables_of(step)[0] for step in done if step not in NO_ROW_AN_ITEM]
    stored = [name for name in MEDIA if Table(data.path / name).exists()]
    stored += [f"captions/{name}" for name in data.caption_names()]
    stored += [f"states/{tower}" for tower in data.towers()]
    stored += [f"tokens/{tower}" for tower in data.token_towers()]
    return sorted({*recorded, *stored})


def _check_manifest(data: Dataset) -> Iterator[str]:
    if "ingest" not in data.manifest.get("steps", {}):
        yield "dataset.json does not record step ingest"
    for name in _item_tables(data):
        if step_of(name) not in data.manifest.get("steps", {}):
            yield f"step {step_of(name)} has not finished; run prep again to resume it"
    for name in data.manifest.get("config", {}).get("caption", {}):
        if f"caption:{name}" not in data.manifest.get("steps", {}):
            yield f"captions {name!r} are configured but not generated; run: python -m prep caption {data.path}"
    for tower in manifest.configured_towers(data.manifest):
        if f"encode:{tower}" not in data.manifest.get("steps", {}):
            yield f"tower {tower!r} is configured but not encoded; run: python -m prep encode {data.path}"
    yield from _check_configured_tokens(data)
    classes = set(pc.unique(data.errors.column("step")).to_pylist())
    known = {*NO_ROW_AN_ITEM, *map(step_of, _item_tables(data))}
    if classes - known:
        yield f"errors/ has rows of the steps {sorted(classes - known)}, but the tables of these steps are missing"


def _check_configured_tokens(data: Dataset) -> Iterator[str]:
    for tower, settings in data.manifest.get("config", {}).get("encode", {}).items():
        if settings.get("tokens") and f"tokens:{tower}" not in data.manifest.get("steps", {}):
            yield f"token states of tower {tower!r} are configured but not stored; run: python -m prep encode {data.path}"


def _check_interactions(data: Dataset) -> Iterator[str]:
    """Checks one batch at a time, because the interactions may be larger than memory."""
    table = Table(data.path / "interactions")
    counts = {"users": 0, "items": data.items.num_rows, "interactions": 0}
    position, wrong = -1, Counter[str]()
    for batch in table.batches(schema.INTERACTIONS.names):
        schema.validate(batch, schema.INTERACTIONS, where=str(table.folder))
        if batch.num_rows == 0:
            continue
        user, item, stored = (batch.column(n).to_numpy() for n in ("user", "item", "position"))
        steps = np.diff(user.astype(np.int64), prepend=np.int64(counts["users"]))
        expected = positions(user) + np.where(user == counts["users"], position + 1, 0)
        wrong[f"items outside of 1..{counts['items']}"] += int(
            ((item < 1) | (item > counts["items"])).sum()
        )
        wrong["users not numbered 1..U in order"] += int((~np.isin(steps, (0, 1))).sum())
        wrong["positions that do not count 0, 1, 2, ... for each user"] += int(
            (stored != expected).sum()
        )
        counts["users"], position = int(user[-1]), int(stored[-1])
        counts["interactions"] += len(user)
    yield from (
        f"interactions: {count:,} rows with {defect}" for defect, count in wrong.items() if count
    )
    if data.manifest.get("counts") != counts:
        yield f"dataset.json records {data.manifest.get('counts')}, but the tables hold {counts}"


def _check_comments(data: Dataset) -> Iterator[str]:
    step = data.manifest.get("steps", {}).get("comments", {})
    if step.get("rows") is None and not Table(data.path / "comments").exists():
        return
    ids = data.comments.column("item_id")
    strangers = pc.sum(pc.invert(pc.is_in(ids, data.items.column("item_id")))).as_py() or 0
    if strangers:
        yield f"comments: {strangers} rows belong to unknown items"
    if step.get("rows") != len(ids):
        yield f"comments: {len(ids)} rows, but dataset.json records {step.get('rows', 'unfinished')}; run prep again"


def _check_item_tables(data: Dataset) -> Iterator[str]:
    for name in _item_tables(data):
        try:
            yield from _CHECKS.get(name.partition("/")[0], _check_rows)(data, name)
        except UserError as error:
            yield str(error)


def _check_rows(data: Dataset, name: str) -> Iterator[str]:
    """Covers, frames and captions."""
    expected = MEDIA.get(name, schema.CAPTIONS)
    ids, statuses, blank = [], [], 0
    for _, table in Table(data.path / name).tables():
        schema.validate(table, expected, where=name)
        ids += table.column("item_id").chunks
        statuses += table.column("status").chunks
        if name.startswith("captions/"):
            blank += _ok_but_blank(table)
    rows, status = pa.chunked_array(ids, pa.string()), pa.chunked_array(statuses, pa.string())
    yield from _rows_against_items(data, name, rows)
    unknown = set(pc.unique(status).to_pylist()) - set(get_args(schema.Status))
    yield from (f"{name}: unknown status {value!r}" for value in sorted(unknown))
    errors = errors_of(data.path, step_of(name))
    yield from against_errors(name, rows, status, errors)
    if blank:
        yield f"{name}: {blank} captions have the status ok but no text"


def _ok_but_blank(table: pa.Table) -> int:
    """Counts the captions whose status is ok and whose text is blank."""
    blank = pc.equal(pc.utf8_trim_whitespace(pc.fill_null(table["text"], "")), "")
    return pc.sum(pc.and_(pc.equal(table["status"], "ok"), blank)).as_py() or 0


def _rows_against_items(data: Dataset, name: str, ids: pa.ChunkedArray) -> Iterator[str]:
    items = data.items.column("item_id")
    for defect, number in {
        "rows repeat an item that has another row": len(ids) - pc.count_distinct(ids).as_py(),
        "items have no row; run prep again to resume": _not_in(items, ids),
        "rows belong to unknown items": _not_in(ids, items),
    }.items():
        if number:
            yield f"{name}: {number} {defect}"


def _not_in(values: pa.ChunkedArray, others: pa.ChunkedArray) -> int:
    return pc.sum(pc.invert(pc.is_in(values, others))).as_py() or 0


def _check_states(data: Dataset, name: str) -> Iterator[str]:
    stored = Table(data.path / name)
    dtype = schema.states_dtype(stored.schema(), where=name)
    spec = data.tower(name.removeprefix("states/"))
    expected = schema.states(spec.layers, spec.width, dtype)
    yield from _check_state_shards(data, name, expected, partial(_states_of_rows, dtype=dtype))


def _check_tokens(data: Dataset, name: str) -> Iterator[str]:
    stored, tower = Table(data.path / name), name.removeprefix("tokens/")
    dtype = schema.states_dtype(stored.schema(), where=name)
    data.token_table(tower)  # refuses broken lengths
    yield from _check_state_shards(
        data, name, schema.tokens(dtype), partial(_tokens_of_rows, dtype=dtype)
    )


def _check_state_shards(
    data: Dataset, name: str, expected: pa.Schema, values_of_rows: ValuesOfRows
) -> Iterator[str]:
    """Checks the rows of states or token states against the items and against `errors/`.

    Args:
        data: the dataset.
        name: folder of the table.
        expected: schema of the table.
        values_of_rows: of a batch of rows: whether all values are finite, and whether each row holds states.
    """
    stored = Table(data.path / name)
    errors = errors_of(data.path, step_of(name)).column("item_id")
    # One lookup for all shards, so that a million ids are hashed only once.
    listed = [
        schema.validate(
            table.select(["item_id", "item"]), pa.schema(list(expected)[:2]), where=name
        )
        for table in _columns_of(stored)
    ]
    ids = pa.chunked_array([c for t in listed for c in t.column("item_id").chunks], pa.string())
    yield from _rows_against_items(data, name, ids)
    numbers = pc.fill_null(pc.index_in(ids, data.items.column("item_id")), -1).to_numpy() + 1
    failed = pc.is_in(ids, errors.combine_chunks()).to_numpy()
    start = 0
    for shard, table in stored.tables():
        schema.validate(table, expected, where=name)
        if not np.array_equal(numbers[start : start + table.num_rows], table["item"].to_numpy()):
            yield f"{name}: {shard.path.name} has other item numbers than items/"
        for batch in table.to_batches():
            finite, filled = values_of_rows(batch)
            rows = slice(start, start + batch.num_rows)
            if not finite:
                yield f"{name}: {shard.path.name} holds states that are not finite"
            if filled[failed[rows]].any():
                yield f"{name}: {shard.path.name} has states of items that errors/ lists as failed"
            start = rows.stop
    if pc.count_distinct(errors).as_py() != len(errors):
        yield f"{name}: errors/ lists the same item more than once"


def _states_of_rows(batch: pa.RecordBatch, *, dtype: StatesDtype) -> tuple[bool, NDArray[np.bool_]]:
    states = batch.column("states").flatten().to_numpy().reshape(batch.num_rows, -1)
    return all_finite(states, dtype), states.any(axis=1)


def _tokens_of_rows(batch: pa.RecordBatch, *, dtype: StatesDtype) -> tuple[bool, NDArray[np.bool_]]:
    tokens = batch.column("tokens")
    lengths = pc.list_value_length(tokens).to_numpy()
    return all_finite(tokens.flatten().to_numpy(), dtype), lengths > 0


def _columns_of(table: Table) -> Iterator[pa.Table]:
    for batch in table.batches(["item_id", "item"]):
        yield pa.table(batch)


_CHECKS = {"states": _check_states, "tokens": _check_tokens}  # of other tables: `_check_rows`
_OF_INTERACTIONS = (_check_manifest, _check_interactions, _check_comments, _check_item_tables)
# By kind of dataset: its checks, and its counts.
_PARTS: dict[str, tuple[Callable[[Dataset], Iterator[str]], ...]] = {FACES: (check_faces,)}
_COUNTS = {FACES: count_faces}
