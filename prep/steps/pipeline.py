"""Runs a step: resumable by row, with atomic shards and a record of every failure.

A shard `part-00003.arrow` of a table and `errors/STEP-00003.arrow` belong together. The errors are written first, the
table's shard last; only the shard makes the rows count. A row of `errors/` is valid only if its item has a row in the
shard with the same number, so the next run detects and removes what a killed run left behind. A step is the only writer
of its table (`prep.steps.writing`), so the files in the folder determine the number of a new shard.
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
    """The work of a step and the table of its rows.

    Args:
        name: name of the step, as in `errors/` and `dataset.json`.
        folder: folder of its table, relative to the dataset.
        schema: schema of its table.
        config: all settings that its rows depend on, as JSON values; a table never mixes configurations.
        work: a pure function from a batch of items to the table's columns, plus `status` (if the table has no such
            column) and `message` (null for ok). It is pickled once per worker, so what it loads at its first call
            and keeps is loaded once per worker.
        shard_rows: number of items per batch; each batch becomes one shard.
        compression: compression of the shards; None for shards that are memory-mapped.
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
    """Completes a step's table to one row per item and prints a summary.

    Args:
        dataset: dataset folder.
        step: step to run.
        items: all items: `item_id` and the other columns that `step.work` reads.
        execute: executor; by default this process.
        retry_failed: whether to retry items whose status is not ok.

    Returns:
        The number of items per status.

    Raises:
        UserError: if existing rows have another configuration, an item has two rows, or another process is writing
            the table.
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
        closing(results),  # ends the workers at once if a result cannot be written
        Progress(step.name, total=pending.num_rows, unit="items") as progress,
    ):
        for result in results:
            failed = _commit(dataset, table, step, result)
            progress.advance(result.num_rows, problems.tally(failed))
    errors = errors_of(dataset, step.name)
    print(
        f"{step.name}: {pending.num_rows:,} of {items.num_rows:,} items done now"
        + problems.summary(problems.tally(errors))
        + pace(progress.done, progress.seconds)
    )
    return {"ok": items.num_rows - errors.num_rows, **problems.tally(errors)}


def errors_of(dataset: Path, step: str) -> pa.Table:
    """The rows of `errors/` that one step wrote."""
    shards = [read_file(shard.path) for shard in _errors_shards(dataset, step)]
    return pa.concat_tables([schema.ERRORS.empty_table(), *shards])


def _errors_path(dataset: Path, step: str, index: int) -> Path:
    return dataset / ERRORS / f"{errors_name(step)}-{index:05d}.arrow"


def _errors_shards(dataset: Path, step: str) -> list[Shard]:
    name = errors_name(step)
    paths = ((shard_index(path, name), path) for path in (dataset / ERRORS).glob("*.arrow"))
    return [Shard(*shard) for shard in sorted((i, path) for i, path in paths if i is not None)]


def _refuse_other_config(table: Table, step: Step) -> None:
    for shard in table.shards()[:1]:
        recorded = schema.settings_of(read_schema(shard.path), where=str(shard.path))
        manifest.refuse_change(
            recorded, step.config, where=str(table.folder), afresh=f"delete {table.folder}"
        )


def _clear_leftovers(dataset: Path, table: Table, step: Step) -> None:
    """Removes what a killed run left behind: temporary files, and error rows whose item has no row."""
    clear_temporary(table.folder, r"part-\d{5,}\.arrow")
    clear_temporary(dataset / "errors", rf"{re.escape(errors_name(step.name))}-\d{{5,}}\.arrow")
    shards = {shard.index: shard.path for shard in table.shards()}
    for errors in _errors_shards(dataset, step.name):
        error_rows = read_file(errors.path)
        rows = shards.get(errors.index)
        present = (
            read_file(rows, ["item_id"]).column("item_id") if rows else pa.array([], pa.string())
        )
        _rewrite(errors.path, error_rows, pc.is_in(error_rows.column("item_id"), present), "zstd")


def _forget_failed(dataset: Path, table: Table, step: Step) -> None:
    """Removes failed rows, so that their items are processed again."""
    shards = {shard.index: shard.path for shard in table.shards()}
    failures = _errors_shards(dataset, step.name)
    refuse_damaged(
        dataset, [path for errors in failures for path in (shards[errors.index], errors.path)]
    )
    for errors in failures:
        rows = read_file(shards[errors.index])
        failed = read_file(errors.path).column("item_id")
        kept = pc.invert(pc.is_in(rows.column("item_id"), failed))
        _rewrite(shards[errors.index], rows, kept, step.compression)
        remove_shard(errors.path)


def _rewrite(
    path: Path, rows: pa.Table, kept: pa.ChunkedArray, compression: Literal["zstd"] | None
) -> None:
    """Keeps only the `kept` rows of a file; deletes the file if no rows remain."""
    if not pc.any(kept).as_py():
        remove_shard(path)
    elif not pc.all(kept).as_py():
        write_table(path, rows.filter(kept), compression=compression)


def _without_row(items: pa.Table, table: Table) -> pa.Table:
    """The items that have no row yet, in order.

    Raises:
        UserError: if an item has several rows.
    """
    done = [read_file(shard.path, ["item_id"]).column("item_id") for shard in table.shards()]
    ids = pa.chunked_array([chunk for column in done for chunk in column.chunks], pa.string())
    twice = len(ids) - pc.count_distinct(ids).as_py()
    if twice:
        raise UserError(
            f"{table.folder}: {twice:,} rows repeat an item that has another row, as after two concurrent runs; "
            f"to start afresh, delete {table.folder} and run prep again"
        )
    return items.filter(pc.invert(pc.is_in(items.column("item_id"), ids)))


def _batches(items: pa.Table, rows: int) -> Iterator[pa.RecordBatch]:
    """Batches of `rows` items, independent of the chunks of the table."""
    for start in range(0, items.num_rows, rows):
        yield items.slice(start, rows).combine_chunks().to_batches()[0]


def _commit(dataset: Path, table: Table, step: Step, result: pa.Table) -> pa.Table:
    """Writes the errors and then the rows of one result; returns the errors."""
    index = table.next_index()
    failed = result.filter(pc.not_equal(result.column("status"), "ok"))
    columns = ("item_id", "status", "message")
    rows = zip(*(failed.column(name).to_pylist() for name in columns), strict=True)
    errors = problems.table(step.name, [problems.Problem(*row) for row in rows])
    if errors.num_rows:
        write_table(_errors_path(dataset, step.name, index), errors, compression="zstd")
    table.append(stored(step, result))
    return errors


def stored(step: Step, result: pa.Table) -> pa.Table:
    """The part of a result of `step.work` that a shard stores: the table's columns, metadata and configuration."""
    metadata = {**(step.schema.metadata or {}), **(result.schema.metadata or {})}
    metadata |= {CONFIG_KEY: json.dumps(step.config, sort_keys=True)}
    return result.select(step.schema.names).cast(step.schema).replace_schema_metadata(metadata)
