"""Estimates time, disk space and memory of a build from a small sample.

The steps themselves process the sample and write into a temporary folder; the dump stays unchanged. N is the
number of items, n the size of the sample.
"""

import math
import random
import resource
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet

from prep.caption import caption_step, captionings, imported_step
from prep.captioners.captioning import Captioning
from prep.config import PrepConfig
from prep.encode import encode_step, refuse_incomplete, refuse_other_clips, tokens_step
from prep.executors import local
from prep.media import media_steps
from prep.numbering.interactions import Log
from prep.numbering.items import number_items
from prep.readers import Raw, choose, make_readers, parts
from prep.steps import manifest
from prep.steps.database import engine
from prep.steps.pipeline import Step, stored
from prep.towers.encoding import Encoding
from prep.towers.tokens import TokenEncoding
from toolkit import schema
from toolkit.console.progress import duration
from toolkit.json_files import MANIFEST, write_json
from toolkit.store import Table, write_table

MEDIA_SAMPLE = 20  # clips and covers
TEXT_SAMPLE = 64
_INTERVAL = 2.1  # half width in standard errors: 95 % for samples of twenty (Student's t)
_PAYLOADS = ("image", "frames")  # columns whose size varies between items


@dataclass(frozen=True)
class StepEstimate:
    """Estimated cost of one step.

    Args:
        step: name of the step.
        rows: number of rows that it writes.
        seconds: time with the configured workers.
        disk_bytes: expected size of its table.
        low_bytes: lower end of the 95 % interval of the size.
        high_bytes: upper end of the 95 % interval of the size.
        memory_bytes: conservative estimate of the peak memory of all processes together.
    """

    step: str
    rows: int
    seconds: float
    disk_bytes: int
    low_bytes: int
    high_bytes: int
    memory_bytes: int


@dataclass(frozen=True)
class Estimate:
    """Estimated cost of a build.

    Args:
        items: number of items in the dump.
        workers: number of decoding processes.
        free_bytes: free space on the disk of the dump.
        steps: estimates of the steps, in order.
    """

    items: int
    workers: int
    free_bytes: int
    steps: tuple[StepEstimate, ...]

    @property
    def seconds(self) -> float:
        """Total time of all steps."""
        return sum(step.seconds for step in self.steps)

    @property
    def disk_bytes(self) -> int:
        """Total size of all tables, at the upper end of their intervals."""
        return sum(step.high_bytes for step in self.steps)

    @property
    def memory_bytes(self) -> int:
        """Peak memory of the step that needs most."""
        return max(step.memory_bytes for step in self.steps)

    def __str__(self) -> str:
        rows = [("step", "rows", "time", "disk", "peak memory")]
        rows += [
            (s.step, f"{s.rows:,}", duration(s.seconds), _range(s), _size(s.memory_bytes))
            for s in self.steps
        ]
        total = (duration(self.seconds), f"up to {_size(self.disk_bytes)}")
        rows.append(("total", "", *total, _size(self.memory_bytes)))
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        lines = [
            "  ".join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])])
            for row in rows
        ]
        plural = "es" if self.workers > 1 else ""
        lines.append(
            f"with {self.workers} decoding process{plural}; measured on a sample, on this machine"
        )
        lines.append(f"free space on the dump's disk: {_size(self.free_bytes)}")
        if self.disk_bytes > self.free_bytes:
            lack = _size(self.disk_bytes - self.free_bytes)
            lines.append(
                f"warning: the dataset needs {lack} more; build it on another disk, or reduce its size "
                "(--media.frame_px, --media.frame_count, --encode.TOWER.layers, --encode.TOWER.tokens)"
            )
        return "\n".join(lines)


def estimate(dump: str | Path, config: PrepConfig | None = None) -> Estimate:
    """Measures a sample of a dump and estimates the cost of `build`.

    Args:
        dump: folder of the downloaded dump; it stays unchanged.
        config: all settings.

    Raises:
        UserError: if no reader can read the dump, or a captioner or an encoder is not available.
    """
    dump, config = Path(dump), config or PrepConfig()
    readers = make_readers(config)
    layout, files = choose(config.layout, dump, readers)
    workers = config.media.workers or local.cpu_count()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        works = captionings(folder / "sample", config)  # fails early if a model is not available
        refuse_incomplete(config, folder)
        refuse_other_clips(config, folder)
        started = time.perf_counter()
        raw = readers[layout].read(files)
        items, _ = number_items(raw)
        steps = [_ingest(raw, items, files, folder, config, started)]
        sample = _sample_dataset(folder / "sample", items)
        for step, count, share in _item_steps(dump, config, works, folder / "sample"):
            tried = sample.slice(0, count)
            steps.append(
                _measure(folder / "sample", step, tried, items.num_rows, workers if share else 1)
            )
    free_bytes = shutil.disk_usage(dump).free
    return Estimate(items.num_rows, workers, free_bytes, tuple(steps))


def _item_steps(
    dump: Path, config: PrepConfig, works: dict[str, Captioning], sample: Path
) -> Iterator[tuple[Step, int, bool]]:
    """Every step with one row per item, in order. A step may read the tables of earlier steps.

    Yields:
        The step, the number of items to try, and whether several workers share the work.
    """
    for name, step in media_steps(dump, config.media).items():
        if step is None:
            manifest.record_step(sample, name, {}, skipped="the dump has none")
        else:
            yield step, MEDIA_SAMPLE, True
    for name, work in works.items():
        captioning = replace(work, cache=None)  # without the cache, the model captions every item
        captioning.refuse_absent_source()
        yield caption_step(name, captioning), MEDIA_SAMPLE, False
    for name, captions in config.caption.items():
        if captions.file:
            step, _ = imported_step(name, captions.file)
            yield step, TEXT_SAMPLE, False
    for tower, settings in config.encode.items():
        encoding = Encoding(sample, settings)
        count = (
            TEXT_SAMPLE if settings.source == "title" else MEDIA_SAMPLE
        )  # others read those tables
        encoder = encoding.frozen.encoder
        yield encode_step(tower, encoding, encoder=encoder), count, False
        if settings.tokens is not None:
            tokens = TokenEncoding(encoding, settings.tokens)
            yield tokens_step(tower, tokens, encoder=encoder), count, False


def _ingest(
    raw: Raw,
    items: pa.Table,
    files: dict[str, Path],
    folder: Path,
    config: PrepConfig,
    started: float,
) -> StepEstimate:
    """Estimates ingest: counts the items, and extrapolates from the first batch of interactions.

    Args:
        raw: the dump as the reader returned it.
        items: numbered items.
        files: files of the dump by role.
        folder: temporary folder to write into.
        config: this step uses `memory_gib`.
        started: start of reading, as returned by `time.perf_counter`.
    """
    first = next(iter(raw.interactions))
    path = next(path for path in files.values() if path.name == raw.interactions_file)
    share = _share(path, int(pc.max(first.column("line")).as_py() or 1))
    write_table(folder / "items.arrow", items, compression="zstd")
    table = Table(folder / "interactions")
    with engine(folder / "scratch", memory_gib=config.memory_gib) as database:
        for shard in Log(database, replace(raw, interactions=[first]), items).shards():
            table.append(shard)
    seconds = (time.perf_counter() - started) / share
    size = sum(shard.path.stat().st_size for shard in table.shards())
    size = (folder / "items.arrow").stat().st_size + round(size / share)
    rows = round(first.num_rows / share)
    return StepEstimate("ingest", rows, seconds, size, size // 2, 2 * size, _peak_bytes())


def _share(path: Path, lines: int) -> float:
    """The share of the first `lines` in a file of interactions, by bytes; for Parquet, by rows."""
    if path.is_dir() or path.suffix == ".parquet":
        rows = sum(pa.parquet.read_metadata(part).num_rows for part in parts(path))
        return min(lines / max(rows, 1), 1.0)
    with path.open("rb") as file:
        read_bytes = sum(len(line) for line, _ in zip(file, range(lines), strict=False))
    return min(read_bytes / path.stat().st_size, 1.0)


def _sample_dataset(folder: Path, items: pa.Table) -> pa.Table:
    """Writes a dataset of a few random items, and returns the items."""
    count = min(TEXT_SAMPLE, items.num_rows)
    sample = items.take(random.Random(0).sample(range(items.num_rows), count))
    numbers = pa.array(range(1, count + 1), pa.int32())
    sample = sample.set_column(items.schema.get_field_index("item"), "item", numbers)
    Table(folder / "items").append(sample)
    write_json(folder / MANIFEST, {"schema_version": schema.SCHEMA_VERSION, "steps": {}})
    return sample.select(["item_id", "item"])


def _measure(folder: Path, step: Step, sample: pa.Table, rows: int, workers: int) -> StepEstimate:
    """Runs a step on a sample, keeps its table for later steps, and extrapolates to all items.

    Args:
        folder: dataset folder of the sample.
        step: step to run.
        sample: items of the sample.
        rows: N.
        workers: number of workers that share the work.
    """
    shards = math.ceil(rows / step.shard_rows)
    _timed(step, sample.slice(0, 1))  # warm-up: the first call loads models
    single_seconds, _ = _timed(step, sample.slice(0, 1))
    sample_seconds, result = _timed(step, sample)
    per_item = max(sample_seconds - single_seconds, 0.0) / max(sample.num_rows - 1, 1)
    per_item = per_item or single_seconds
    per_shard = max(single_seconds - per_item, 0.0)
    seconds = (rows * per_item + shards * per_shard) / min(workers, shards)
    manifest.record_step(folder, step.name, step.config)
    table = stored(step, result)
    write_table(folder / step.folder / "part-00000.arrow", table, compression=step.compression)
    low, expected, high = (_compressed_bytes if step.compression else _bytes_of)(
        table, rows, shards
    )
    memory = _peak_bytes() * (workers + 1 if workers > 1 else 1)
    memory += workers * _peak_bytes(resource.RUSAGE_CHILDREN)
    memory += 2 * expected // shards
    return StepEstimate(step.name, rows, seconds, expected, low, high, memory)


def _timed(step: Step, items: pa.Table) -> tuple[float, pa.Table]:
    (batch,) = items.combine_chunks().to_batches()
    started = time.perf_counter()
    result = step.work(batch)
    return time.perf_counter() - started, result


def _bytes_of(table: pa.Table, rows: int, shards: int) -> tuple[int, int, int]:
    """The size on disk of a table with `rows` rows like these: low, expected, high.

    The size per row is the slope between a short and a long table; the rest is the overhead per shard. The margin
    is the confidence interval of a mean of n rows drawn from N.
    """
    repeats, count = 9, table.num_rows
    single, longer = _file_bytes(table), _file_bytes(pa.concat_tables([table] * repeats))
    per_row = (longer - single) / ((repeats - 1) * count)
    per_shard = max(single - per_row * count, 0.0)
    payloads = _payload_bytes(table)
    spread = statistics.stdev(payloads) if count > 1 else 0.0
    margin = _INTERVAL * spread * rows * math.sqrt((1 - min(count / rows, 1)) / count)
    expected = per_row * rows + per_shard * shards
    return max(round(expected - margin), 0), round(expected), round(expected + margin)


def _compressed_bytes(table: pa.Table, rows: int, shards: int) -> tuple[int, int, int]:
    """As `_bytes_of`, for a compressed table, where larger files need fewer bytes per row.

    The upper bound is the average size of these rows; the lower bound is half the size of the later rows.
    """
    count, half = table.num_rows, table.num_rows // 2
    empty, first, all_ = (_file_bytes(table.slice(0, n), "zstd") for n in (0, half, count))
    low = (all_ - first) / (count - half) / 2 * rows + empty * shards
    high = (all_ - empty) / count * rows + empty * shards
    return round(low), round((low + high) / 2), round(high)


def _file_bytes(table: pa.Table, compression: Literal["zstd"] | None = None) -> int:
    sink = pa.BufferOutputStream()
    options = pa.ipc.IpcWriteOptions(compression=compression)
    with pa.ipc.new_file(sink, table.schema, options=options) as writer:
        writer.write_table(table.combine_chunks())
    return int(sink.getvalue().size)


def _payload_bytes(table: pa.Table) -> list[int]:
    """Bytes of each row in columns whose size varies between items."""
    sizes = np.zeros(table.num_rows, dtype=np.int64)
    for name in set(_PAYLOADS) & set(table.schema.names):
        for row, value in enumerate(table.column(name).to_pylist()):
            sizes[row] += (
                sum(map(len, value or [])) if isinstance(value, list) else len(value or b"")
            )
    if "tokens" in table.schema.names:
        tokens = table.column("tokens")
        value_bytes = tokens.type.value_type.bit_width // 8
        sizes += pc.list_value_length(tokens).to_numpy() * value_bytes
    return [int(size) for size in sizes]


def _peak_bytes(who: int = resource.RUSAGE_SELF) -> int:
    """Peak memory of this process, or the largest peak of its finished child processes."""
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(who).ru_maxrss * unit


def _range(step: StepEstimate) -> str:
    if step.low_bytes == step.high_bytes:
        return _size(step.disk_bytes)
    return f"{_size(step.disk_bytes)} ({_size(step.low_bytes)} to {_size(step.high_bytes)})"


def _size(count: int) -> str:
    for unit, power in (("GiB", 30), ("MiB", 20)):
        if count >= 2**power:
            return f"{count / 2**power:,.1f} {unit}"
    return f"{count / 2**10:,.1f} KiB"
