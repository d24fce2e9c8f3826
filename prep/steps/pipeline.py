"""Runs a step: resumable by row, whole or absent by shard, every failure told.

A shard `part-00003.arrow` of a table and `errors/STEP-00003.arrow` belong together. The errors are
written first, the table's shard last: it is what makes the rows count. An errors row stands only
while its item has a row in the shard of the same number, so whatever a kill left half done is
recognised and removed at the next start. A step is its table's only writer (`prep.steps.writing`): the
numbers of new shards are found by looking at the folder.
"""

import json
import re
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa
import pyarrow.compute as pc

from prep.executors import Executor, Work, processes
from prep.steps import manifest, problems
from prep.steps.checksums import errors_name, refuse_damaged
from prep.steps.writing import clear_temporary, writing
from toolkit import schema
from toolkit.checksums import ERRORS, shard_index
from toolkit.console.progress import Progress, pace
from toolkit.errors import UserError
from toolkit.store import (
    Shard,
    Table,
    read_file,
    read_schema,
    remove_shard,
    write_table,
)

CONFIG_KEY = schema.SETTINGS


@dataclass(frozen=True)
class Step:
    """What one step does to items, and where its rows go.

    Args:
        name: of the step, as in `errors/` and `dataset.json`.
        folder: of its table, relative to the dataset.
        schema: of its table.
        config: all that its rows depend on, JSON values only; a dataset never mixes two.
        work: a pure function from a batch of items to the table's columns, plus `status` (where
            the table has no such column) and `message` (null for ok). It is pickled once for each
            worker, so what it loads when it is first called and keeps is loaded once a worker.
        shard_rows: items in a batch, which becomes one shard.
        compression: of the shards; None where they are mapped into memory.
    """

    name: str
    folder: str
    schema: pa.Schema
    config: dict[str, Any]
    work: Work = field(repr=False)
    shard_rows: int
    compression: Literal["zstd"] | None = None


def run_step(
    dataset: Path,
    step: Step,
    items: pa.Table,
    *,
    execute: Executor | None = None,
    retry_failed: bool = False,
) -> dict[str, int]:
    """Brings a step's table to one row an item and says so.

    Args:
        dataset: the dataset folder.
        step: what to do.
        items: all items, `item_id` and whatever else `step.work` reads.
        execute: where to do it; in this process by default.
        retry_failed: whether items that are not ok are done again.

    Returns:
        How many items have which status.

    Raises:
        UserError: if existing rows were made with another configuration, an item has two of them, or another
            process is writing the table.
    """
    with writing(dataset, step.name):
        return _run(dataset, step, items, execute or processes(1), retry_failed=retry_failed)


def _run(
    dataset: Path, step: Step, items: pa.Table, execute: Executor, *, retry_failed: bool
) -> dict[str, int]:
    table = Table(dataset / step.folder, compression=step.compression)
    _refuse_other_config(table, step)
    _clear_leftovers(dataset, table, step)
    if retry_failed:
        _forget_failed(dataset, table, step)
    pending = _without_row(items, table)
    results = execute(step.work, list(_batches(pending, step.shard_rows)))
    with (
        closing(results),  # ends its workers at once if a result cannot be written
        Progress(step.name, total=pending.num_rows, unit="items") as progress,
    ):
        for result in results:
            failed = _commit(dataset, table, step, result)
            progress.advance(result.num_rows, problems.tally(failed))
    told = errors_of(dataset, step.name)
    print(
        f"{step.name}: {pending.num_rows:,} of {items.num_rows:,} items done now"
        + problems.summary(problems.tally(told))
        + pace(progress.done, progress.seconds)
    )
    return {"ok": items.num_rows - told.num_rows, **problems.tally(told)}


def errors_of(dataset: Path, step: str) -> pa.Table:
    """The rows of `errors/` that one step wrote."""
    shards = [read_file(shard.path) for shard in _errors_shards(dataset, step)]
    return pa.concat_tables([schema.ERRORS.empty_table(), *shards])


def _errors_path(dataset: Path, step: str, index: int) -> Path:
    return dataset / ERRORS / f"{errors_name(step)}-{index:05d}.arrow"


def _errors_shards(dataset: Path, step: str) -> list[Shard]:
    name = errors_name(step)
    paths = ((shard_index(path, name), path) for path in (dataset / ERRORS).glob("*.arrow"))
    return [Shard(*found) for found in sorted((i, path) for i, path in paths if i is not None)]


def _refuse_other_config(table: Table, step: Step) -> None:
    for shard in table.shards()[:1]:
        recorded = schema.settings_of(read_schema(shard.path), where=str(shard.path))
        manifest.refuse_change(
            recorded, step.config, where=str(table.folder), afresh=f"delete {table.folder}"
        )


def _clear_leftovers(dataset: Path, table: Table, step: Step) -> None:
    """Removes what a killed run left: temporary files, and errors rows without their item's row."""
    clear_temporary(table.folder, r"part-\d{5,}\.arrow")
    clear_temporary(dataset / "errors", rf"{re.escape(errors_name(step.name))}-\d{{5,}}\.arrow")
    shards = {shard.index: shard.path for shard in table.shards()}
    for errors in _errors_shards(dataset, step.name):
        told = read_file(errors.path)
        rows = shards.get(errors.index)
        present = (
            read_file(rows, ["item_id"]).column("item_id") if rows else pa.array([], pa.string())
        )
        _rewrite(errors.path, told, pc.is_in(told.column("item_id"), present), "zstd")


def _forget_failed(dataset: Path, table: Table, step: Step) -> None:
    """Drops the failed rows, so that their items count as not done yet."""
    shards = {shard.index: shard.path for shard in table.shards()}
    failures = _errors_shards(dataset, step.name)
    refuse_damaged(dataset, [path for one in failures for path in (shards[one.index], one.path)])
    for errors in failures:
        rows = read_file(shards[errors.index])
        failed = read_file(errors.path).column("item_id")
        kept = pc.invert(pc.is_in(rows.column("item_id"), failed))
        _rewrite(shards[errors.index], rows, kept, step.compression)
        remove_shard(errors.path)


def _rewrite(
    path: Path, rows: pa.Table, kept: pa.ChunkedArray, compression: Literal["zstd"] | None
) -> None:
    """Leaves only the `kept` rows in a file; deletes it when none is left."""
    if not pc.any(kept).as_py():
        remove_shard(path)
    elif not pc.all(kept).as_py():
        write_table(path, rows.filter(kept), compression=compression)


def _without_row(items: pa.Table, table: Table) -> pa.Table:
    """The items that have no row yet, in their order.

    Raises:
        UserError: if an item has several.
    """
    done = [read_file(shard.path, ["item_id"]).column("item_id") for shard in table.shards()]
    ids = pa.chunked_array([chunk for column in done for chunk in column.chunks], pa.string())
    twice = len(ids) - pc.count_distinct(ids).as_py()
    if twice:
        raise UserError(
            f"{table.folder}: {twice:,} rows stand for an item that has another row, as two runs at once leave "
            f"them; to start afresh delete {table.folder} and run prep again"
        )
    return items.filter(pc.invert(pc.is_in(items.column("item_id"), ids)))


def _batches(items: pa.Table, rows: int) -> Iterator[pa.RecordBatch]:
    """Batches of `rows` items: equal for equal items, whatever the chunks behind them."""
    for start in range(0, items.num_rows, rows):
        yield items.slice(start, rows).combine_chunks().to_batches()[0]


def _commit(dataset: Path, table: Table, step: Step, result: pa.Table) -> pa.Table:
    """Writes one result: its errors, which it returns, then its rows."""
    index = table.next_index()
    failed = result.filter(pc.not_equal(result.column("status"), "ok"))
    columns = ("item_id", "status", "message")
    rows = zip(*(failed.column(name).to_pylist() for name in columns), strict=True)
    told = problems.table(step.name, [problems.Problem(*row) for row in rows])
    if told.num_rows:
        write_table(_errors_path(dataset, step.name, index), told, compression="zstd")
    table.append(stored(step, result))
    return told


def stored(step: Step, result: pa.Table) -> pa.Table:
    """What a shard holds of a result of `step.work`: the table's columns, its metadata, and the configuration."""
    metadata = {**(step.schema.metadata or {}), **(result.schema.metadata or {})}
    metadata |= {CONFIG_KEY: json.dumps(step.config, sort_keys=True)}
    return result.select(step.schema.names).cast(step.schema).replace_schema_metadata(metadata)
