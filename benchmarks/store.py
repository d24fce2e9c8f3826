"""The hidden-state store compared with one `torch.save` file per item, then a table of a million items.

    python benchmarks/store.py [--items 20825] [--large 1000000] [--work FOLDER] [--output FILE.json]

Every figure is the median of alternating rounds, each in its own process. Cold: the files' pages are dropped from the
cache before a process starts (`posix_fadvise`). The file system's metadata of the many small files stay cached, which
favours the files. The large table has its real size on disk (10.7 GB by default) and is deleted at the end; `--large 0`
skips it.
"""

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor

from models.inputs.features import StoredStates
from models.machine.prefetch import make_each
from models.machine.residency import Location
from prep.towers.rows import SHARD, state_rows
from toolkit import open_dataset, schema
from toolkit.json_files import MANIFEST, write_json
from toolkit.store import Table

BATCH = 512  # items
ROUNDS = 3
WARM_BATCHES = {"store": 200, "files": 8}
ABOUT = {"encoder": "random", "revision": "0", "pooling": "cls", "source": "title"}


def main() -> None:
    """Runs both parts, prints a table, and writes JSON if `--output` is given."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--items", type=int, default=20_825)
    parser.add_argument("--large", type=int, default=1_000_000)
    parser.add_argument("--work", type=Path)
    parser.add_argument("--output", type=Path)
    parser.add_argument("--measure", nargs=2, help=argparse.SUPPRESS)  # run by child processes
    options = parser.parse_args()
    if options.measure:
        kind, folder = options.measure
        print(json.dumps(MEASURES[kind](Path(folder))))
        return
    with tempfile.TemporaryDirectory(dir=options.work) as name:
        report: dict[str, Any] = {
            "date": time.strftime("%Y-%m-%d"),
            "cores": len(os.sched_getaffinity(0)),
            "load_average": os.getloadavg()[0],
            "torch": torch.__version__,
            "items": options.items,
            "against_files": against_files(Path(name), options.items),
        }
        if torch.cuda.is_available():
            report["feeding"] = feeding(Path(name) / "store", torch.device("cuda"))
        if options.large:
            report["large"] = large(Path(name) / "large", options.large)
    print_table(report)
    print(json.dumps(report, indent=2))
    if options.output:
        options.output.write_text(json.dumps(report, indent=2) + "\n")


# --- against files


def against_files(folder: Path, items: int, layers: int = 7, width: int = 384) -> dict[str, Any]:
    """Measures the store, and files in float16 and float32 (the dtype that encoders return)."""
    states = torch.randn(items, layers, width).half()
    ways: dict[str, Callable[[Path], None]] = {
        "store": lambda to: write_dataset(to, items, layers, width, lambda first, end: states[first:end]),
        "files float16": lambda to: write_files(to, states),
        "files float32": lambda to: write_files(to, states.float()),
    }  # fmt: skip
    found: dict[str, dict[str, list[float]]] = {way: {} for way in ways}
    for _ in range(ROUNDS):
        for way, write in ways.items():
            shutil.rmtree(folder / way, ignore_errors=True)
            write_s = seconds(lambda write=write, way=way: (write(folder / way), os.sync()))
            tables = folder / way / "states" if way == "store" else folder / way
            figures = {"write_s": write_s, "disk_mb": disk_bytes(tables) / 1e6}
            drop_from_cache(folder / way)
            figures |= child(way.split()[0], folder / way)
            for name, value in figures.items():
                found[way].setdefault(name, []).append(value)
    return {way: {k: statistics.median(v) for k, v in f.items()} for way, f in found.items()}


def write_files(folder: Path, states: Tensor) -> None:
    """Writes one file per item, without flushing to disk."""
    folder.mkdir()
    for number, own in enumerate(states, start=1):
        torch.save(own.clone(), folder / f"{number}.pt")


def write_dataset(
    folder: Path, items: int, layers: int, width: int, states: Callable[[int, int], Tensor]
) -> None:
    """Writes a dataset with one tower; every shard is flushed to disk, as in `prep encode`."""
    ids = pa.array([str(number) for number in range(1, items + 1)])
    numbers = pa.array(np.arange(1, items + 1, dtype=np.int32))
    Table(folder / "items").append(pa.table([ids, numbers, ids], schema=schema.ITEMS))
    shape = {"layers": str(layers), "width": str(width), "modality": "text"}
    columns = schema.states(layers, width).with_metadata({**ABOUT, **shape})
    table = Table(folder / "states" / "title", compression=None)
    for first in range(0, items, SHARD):
        batch = pa.record_batch({"item_id": ids, "item": numbers}).slice(first, SHARD)
        flat = states(first, first + batch.num_rows).flatten(1).numpy()
        rows = state_rows(batch, flat, [("ok", None)] * batch.num_rows)
        table.append(rows.select(columns.names).cast(columns))
    write_json(folder / MANIFEST, {"schema_version": schema.SCHEMA_VERSION, "steps": {}})


def measure_store(folder: Path) -> dict[str, float]:
    """Measures cold, then warm gathers from the table."""
    started = time.perf_counter()
    table = open_dataset(folder).state_table("title")
    return gathers(table.gather, len(table) - 1, started, WARM_BATCHES["store"])


def measure_files(folder: Path) -> dict[str, float]:
    """Measures cold, then warm gathers from files."""

    def gather(items: Tensor) -> Tensor:
        return torch.stack([torch.load(folder / f"{number}.pt") for number in items.tolist()])

    started = time.perf_counter()
    count = sum(1 for _ in folder.iterdir())
    return gathers(gather, count, started, WARM_BATCHES["files"])


def gathers(
    gather: Callable[[Tensor], Tensor], items: int, started: float, batches: int
) -> dict[str, float]:
    """Measures random batches: the first cold, then the same items again, then others, warm."""
    anonymous, mapped = memory_mb()
    order = torch.randperm(items, generator=torch.Generator().manual_seed(0)) + 1
    cold = order.split(BATCH)[:4]
    gather(cold[0].sort().values)
    first_s = time.perf_counter() - started
    cold_s = seconds(lambda: [gather(batch.sort().values) for batch in cold[1:]])
    for batch in order.split(BATCH):  # into the cache
        gather(batch)
    rng = torch.Generator().manual_seed(1)
    asked = [
        torch.randint(1, items + 1, (BATCH,), generator=rng).sort().values for _ in range(batches)
    ]
    warm_s = seconds(lambda: [gather(batch) for batch in asked])
    now = memory_mb()
    return {
        "first_batch_ms": 1e3 * first_s,
        "cold_gathers_per_s": BATCH * len(cold[1:]) / cold_s,
        "warm_gathers_per_s": BATCH * batches / warm_s,
        "anonymous_mb": now[0] - anonymous,
        "mapped_mb": now[1] - mapped,
    }


# --- to a device


def feeding(folder: Path, device: torch.device, batches: int = 200) -> dict[str, float]:
    """GB/s of batches of 3,000 items to a device, by residency; `copy` is one large pinned copy."""
    table = open_dataset(folder).state_table("title")
    rng = torch.Generator().manual_seed(0)
    asked = [
        (torch.randperm(len(table) - 1, generator=rng)[:3000] + 1).sort().values
        for _ in range(batches)
    ]
    batch_bytes = 3000 * table.shape[1:].numel() * table.dtype.itemsize
    pinned = table.load().pin_memory() if device.type == "cuda" else table.load()

    def feed(features: StoredStates) -> None:
        for _ in make_each(features.gather, asked, prefetch=features.prefetch, device=device):
            pass
        wait(device)

    def copy() -> None:
        for _ in range(10):
            pinned.to(device, non_blocking=True, copy=True)
        wait(device)

    copy()
    found = {"copy": 10 * pinned.nbytes / seconds(copy) / 1e9}
    for place in get_args(Location):
        features = StoredStates({"title": table}, device=device, place=place)
        feed(features)
        found[place] = batches * batch_bytes / seconds(lambda f=features: feed(f)) / 1e9
    return found


def wait(device: torch.device) -> None:
    """Waits until the device has finished its work."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


# --- a million items


def large(folder: Path, items: int, layers: int = 7, width: int = 768) -> dict[str, Any]:
    """One large table: seconds to write it, to open it, and to read its first batch of 3,000 items."""
    shard = torch.randn(
        SHARD, layers, width
    ).half()  # the same in every shard; the disk cannot tell
    write_s = seconds(
        lambda: write_dataset(folder, items, layers, width, lambda first, end: shard[: end - first])
    )
    size = disk_bytes(folder / "states")
    drop_from_cache(folder)
    cold = child("large", folder)
    return {
        "items": items,
        "disk_gb": size / 1e9,
        "write_mb_per_s": size / 1e6 / write_s,
        "cold": cold,
        "warm": child("large", folder),
    }


def measure_large(folder: Path) -> dict[str, float]:
    """Opens the table and gathers the first batches from the memory map, as training does."""
    (anonymous, mapped), read = memory_mb(), disk_reads_mb()
    started = time.perf_counter()
    table = open_dataset(folder).state_table("title")
    open_s = time.perf_counter() - started
    features = StoredStates({"title": table}, place="mapped")
    order = torch.randperm(len(table) - 1)[: 10 * 3000].add(1).split(3000)
    asked = [batch.sort().values for batch in order]
    batches = make_each(features.gather, asked, prefetch=features.prefetch, device="cpu")
    first_s = seconds(lambda: next(batches))
    read = disk_reads_mb() - read
    rest_s = seconds(lambda: list(batches))
    now = memory_mb()
    return {
        "open_s": open_s,
        "first_batch_s": first_s,
        "read_until_then_mb": read,
        "gathers_per_s": 9 * 3000 / rest_s,
        "anonymous_mb": now[0] - anonymous,
        "mapped_mb": now[1] - mapped,
    }


# --- small things


MEASURES = {"store": measure_store, "files": measure_files, "large": measure_large}


def child(kind: str, folder: Path) -> dict[str, float]:
    """Measures in a child process."""
    command = [sys.executable, __file__, "--measure", kind, str(folder)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return dict(json.loads(done.stdout))


def seconds(work: Callable[[], object]) -> float:
    """Seconds of one call."""
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def disk_bytes(folder: Path) -> int:
    """Disk space of the files of a folder, in whole blocks."""
    return sum(path.stat().st_blocks * 512 for path in folder.rglob("*") if path.is_file())


def drop_from_cache(folder: Path) -> None:
    """Drops the pages of a folder's files from the page cache; the files must be flushed."""
    os.sync()
    for path in folder.rglob("*"):
        if path.is_file():
            file = os.open(path, os.O_RDONLY)
            os.posix_fadvise(file, 0, 0, os.POSIX_FADV_DONTNEED)
            os.close(file)


def memory_mb() -> tuple[float, float]:
    """Memory of this process: its own, and pages of mapped files, which the kernel may reclaim."""
    lines = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    own, mapped = (float(lines[key].split()[0]) * 1024 / 1e6 for key in ("RssAnon", "RssFile"))
    return own, mapped


def disk_reads_mb() -> float:
    """Disk reads of this process, including readahead."""
    lines = dict(line.split(": ") for line in Path("/proc/self/io").read_text().splitlines())
    return int(lines["read_bytes"]) / 1e6


def print_table(report: dict[str, Any]) -> None:
    """Prints the figures as Markdown."""
    ways = report["against_files"]
    print(f"| {report['items']:,} items | {' | '.join(ways)} |\n|---|{'---|' * len(ways)}")
    for name in ways["store"]:
        print(f"| {name} | {' | '.join(f'{figures[name]:,.1f}' for figures in ways.values())} |")


if __name__ == "__main__":
    main()
