"""Before a long run: how long it takes, how much disk and how much memory, from a small sample.

The sample goes through the steps' own functions into a temporary folder; nothing is written into
the dump. N items in all, n in the sample.
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

from prep.caption import caption_step, captionings
from prep.captioners.captioning import Captioning
from prep.config import PrepConfig
from prep.encode import encode_step, refuse_incomplete, refuse_other_clips
from prep.executors import local
from prep.media import media_steps
from prep.numbering.interactions import Log
from prep.numbering.items import number_items
from prep.readers import Raw, choose, make_readers, parts
from prep.steps import manifest
from prep.steps.database import engine
from prep.steps.pipeline import Step, stored
from prep.towers.encoding import Encoding
from toolkit import schema
from toolkit.console.progress import duration
from toolkit.json_files import MANIFEST, write_json
from toolkit.store import Table, write_table

MEDIA_SAMPLE = 20  # clips and covers
TEXT_SAMPLE = 64
_INTERVAL = 2.1  # standard errors to either side: 95 % for samples of twenty (Student's t)
_PAYLOADS = ("image", "frames")  # columns whose size differs from item to item


@dataclass(frozen=True)
class StepEstimate:
    """What one step will take.

    Args:
        step: its name.
        rows: that it writes.
        seconds: with the configured workers.
        disk_bytes: of its table.
        low_bytes: 19 times of 20, its table is not smaller.
        high_bytes: nor larger.
        memory_bytes: at its peak, all processes together, on the safe side.
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
    """What a whole build will take.

    Args:
        items: of the dump.
        workers: processes that decode.
        free_bytes: on the disk where the dump lies.
        steps: one after the other.
    """

    items: int
    workers: int
    free_bytes: int
    steps: tuple[StepEstimate, ...]

    @property
    def seconds(self) -> float:
        """Of all steps."""
        return sum(step.seconds for step in self.steps)

    @property
    def disk_bytes(self) -> int:
        """Of all tables, at the upper end of their ranges."""
        return sum(step.high_bytes for step in self.steps)

    @property
    def memory_bytes(self) -> int:
        """At the peak of the hungriest step."""
        return max(step.memory_bytes for step in self.steps)

    def __str__(self) -> str:
        rows = [("step", "rows", "time", "disk", "peak memory")]
        rows += [
            (s.step, f"{s.rows:,}", duration(s.seconds), _range(s), _size(s.memory_bytes))
            for s in self.steps
        ]
        total = (duration(self.seconds), f"up to {_size(self.disk_bytes)}")
        rows.append(("in all", "", *total, _size(self.memory_bytes)))
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        lines = [
            "  ".join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])])
            for row in rows
        ]
        plural = "es" if self.workers > 1 else ""
        lines.append(
            f"with {self.workers} decoding process{plural}; from a sample, on this machine"
        )
        lines.append(f"free where the dump lies: {_size(self.free_bytes)}")
        if self.disk_bytes > self.free_bytes:
            lack = _size(self.disk_bytes - self.free_bytes)
            lines.append(
                f"warning: that is {lack} too little for the dataset; build it on another disk, or ask "
                "for less (--media.frame_px, --media.frame_count, --encode.TOWER.layers)"
            )
        return "\n".join(lines)


def estimate(dump: str | Path, config: PrepConfig | None = None) -> Estimate:
    """Measures a sample of a dump, and says what `build` would take.

    Args:
        dump: folder of what was downloaded; nothing is written into it.
        config: all settings.

    Raises:
        UserError: if the dump cannot be understood, or a captioner or an encoder cannot be had.
    """
    dump, config = Path(dump), config or PrepConfig()
    readers = make_readers(config)
    layout, files = choose(config.layout, dump, readers)
    workers = config.media.workers or local.cpu_count()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        works = captionings(folder / "sample", config)  # what cannot be had is told now
        refuse_incomplete(config, folder)
        refuse_other_clips(config, folder)
        started = time.perf_counter()
        raw = readers[layout].read(files)
        items, _ = number_items(raw)
        steps = [_ingest(raw, items, files, folder, config, started)]
        sample = _sample_dataset(folder / "sample", items)
        for step, count, share in _item_steps(dump, config, works, folder / "sample"):
            chosen = sample.slice(0, count)
            steps.append(
                _measure(folder / "sample", step, chosen, items.num_rows, workers if share else 1)
            )
    free_bytes = shutil.disk_usage(dump).free
    return Estimate(items.num_rows, workers, free_bytes, tuple(steps))


def _item_steps(
    dump: Path, config: PrepConfig, works: dict[str, Captioning], sample: Path
) -> Iterator[tuple[Step, int, bool]]:
    """Every step with a row an item, in order; each may read what those before it have written.

    Yields:
        The step, on how many items to try it, and whether several workers share it.
    """
    for name, step in media_steps(dump, config.media).items():
        if step is None:
            manifest.record_step(sample, name, {}, skipped="the dump has none")
        else:
            yield step, MEDIA_SAMPLE, True
    for name, work in works.items():
        captioning = replace(work, cache=None)  # every item is new to the model
        captioning.refuse_absent_source()
        yield caption_step(name, captioning), MEDIA_SAMPLE, False
    for tower, settings in config.encode.items():
        encoding = Encoding(sample, settings)
        count = (
            TEXT_SAMPLE if settings.source == "title" else MEDIA_SAMPLE
        )  # others read those tables
        yield encode_step(tower, encoding, encoder=encoding.frozen.encoder), count, False


def _ingest(
    raw: Raw,
    items: pa.Table,
    files: dict[str, Path],
    folder: Path,
    config: PrepConfig,
    started: float,
) -> StepEstimate:
    """Items are counted; interactions are told from those that come first.

    Args:
        raw: what the reader gives.
        items: numbered.
        files: that it reads.
        folder: to write into.
        config: `memory_gib` is read here.
        started: when it began to read, by `time.perf_counter`.
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
    """Which share of a file of interactions its first lines are, by bytes; of Parquet, by rows."""
    if path.is_dir() or path.suffix == ".parquet":
        rows = sum(pa.parquet.read_metadata(part).num_rows for part in parts(path))
        return min(lines / max(rows, 1), 1.0)
    with path.open("rb") as file:
        read_bytes = sum(len(line) for line, _ in zip(file, range(lines), strict=False))
    return min(read_bytes / path.stat().st_size, 1.0)


def _sample_dataset(folder: Path, items: pa.Table) -> pa.Table:
    """A dataset of a few items, drawn at random; returns them."""
    count = min(TEXT_SAMPLE, items.num_rows)
    sample = items.take(random.Random(0).sample(range(items.num_rows), count))
    numbers = pa.array(range(1, count + 1), pa.int32())
    sample = sample.set_column(items.schema.get_field_index("item"), "item", numbers)
    Table(folder / "items").append(sample)
    write_json(folder / MANIFEST, {"schema_version": schema.SCHEMA_VERSION, "steps": {}})
    return sample.select(["item_id", "item"])


def _measure(folder: Path, step: Step, sample: pa.Table, rows: int, workers: int) -> StepEstimate:
    """Runs a step on a sample, keeps its table for the steps that read it, and scales it up.

    Args:
        folder: of the sample's dataset.
        step: what to run.
        sample: its items.
        rows: N.
        workers: that share the work.
    """
    shards = math.ceil(rows / step.shard_rows)
    _timed(step, sample.slice(0, 1))  # what happens at the first call alone
    one, _ = _timed(step, sample.slice(0, 1))
    all_, result = _timed(step, sample)
    an_item = max(all_ - one, 0.0) / max(sample.num_rows - 1, 1) or one
    seconds = (rows * an_item + shards * max(one - an_item, 0.0)) / min(workers, shards)
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
    """The size of a table of `rows` rows such as these on disk: at least, expected, at most.

    A row costs what a longer table is longer; what a file costs besides comes once a shard. The
    margin is that of a mean of n rows out of N.
    """
    repeats, count = 9, table.num_rows
    single, longer = _file_bytes(table), _file_bytes(pa.concat_tables([table] * repeats))
    a_row = (longer - single) / ((repeats - 1) * count)
    besides = max(single - a_row * count, 0.0)
    payloads = _payload_bytes(table)
    spread = statistics.stdev(payloads) if count > 1 else 0.0
    margin = _INTERVAL * spread * rows * math.sqrt((1 - min(count / rows, 1)) / count)
    expected = a_row * rows + besides * shards
    return max(round(expected - margin), 0), round(expected), round(expected + margin)


def _compressed_bytes(table: pa.Table, rows: int, shards: int) -> tuple[int, int, int]:
    """As `_bytes_of`, of a compressed table: the more rows a file has, the less each of them costs.

    At most what these cost on average, at least half of what the later ones of these do.
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
    """Bytes of each row that differ from item to item."""
    sizes = np.zeros(table.num_rows, dtype=np.int64)
    for name in set(_PAYLOADS) & set(table.schema.names):
        for row, value in enumerate(table.column(name).to_pylist()):
            sizes[row] += (
                sum(map(len, value or [])) if isinstance(value, list) else len(value or b"")
            )
    return [int(size) for size in sizes]


def _peak_bytes(who: int = resource.RUSAGE_SELF) -> int:
    """The largest memory that this process, or one of its ended children, has had."""
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
