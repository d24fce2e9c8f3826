"""Seconds to read histories and to recommend, with a million users.

    python -m benchmarks.recommend [--users 1000000] [--items 100000] [--asked 4096] [--folder build/recommend]
        [--no-files]

The dataset is synthetic: ten interactions per user. Histories are read from its table and from files with the same rows.
The baseline is a loop over the rows. Each requested user gets ten items from an untrained model. Prints the throughput
and the peak memory of the process too.
"""

import argparse
import resource
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet
import torch

from models import IdEmbedding, Recommender, SASRec
from models.config import RunConfig
from models.inputs.features import ItemNumbers
from models.inputs.histories import dataset_histories
from models.inputs.history_files import read_histories
from models.runs.trained import TrainedRecommender
from toolkit import Dataset, open_dataset, schema
from toolkit.json_files import write_json
from toolkit.store import Table

LENGTH = 10
USERS_A_SHARD = 100_000


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--users", type=int, default=1_000_000)
    parser.add_argument("--items", type=int, default=100_000)
    parser.add_argument("--asked", type=int, default=4096, help="number of users to recommend for")
    parser.add_argument("--folder", type=Path, default=Path("build/recommend"))
    parser.add_argument("--no-files", action="store_true", help="do not read histories from files")
    options = parser.parse_args()
    items = options.items
    data = make_dataset(options.folder, options.users, items)
    histories = timed("table", lambda: dataset_histories(data))
    if not options.no_files:
        timed("loop over the table", lambda: loop(data))
        for file in write_files(options.folder, data):
            timed(file.name, lambda file=file: read_histories(file, data))
    model = Recommender(IdEmbedding(items), SASRec(embedding_dim=64, max_len=LENGTH))
    everything = np.arange(1, items + 1, dtype=np.int32)
    trained = TrainedRecommender(
        RunConfig("", "", item="id"), data, model, ItemNumbers(items), ranked=everything
    )
    timed("catalogue", lambda: trained.catalogue)
    asked = histories[: options.asked]
    started, before = time.perf_counter(), peak_gib()
    timed(f"ten items for {len(asked):,} users", lambda: trained.recommend(asked))
    seconds = time.perf_counter() - started
    print(
        f"{len(asked) / seconds:,.0f} users per second, {1e9 * seconds / (len(asked) * items):.2f} ns per score; peak memory "
        f"{peak_gib():.2f} GiB, {before:.2f} before"
    )


def peak_gib() -> float:
    """The peak memory of this process."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def make_dataset(folder: Path, users: int, items: int) -> Dataset:
    """Writes the dataset shard by shard."""
    shutil.rmtree(folder, ignore_errors=True)
    numbers = np.arange(1, items + 1, dtype=np.int32)
    ids = [f"i{number}" for number in numbers]
    Table(folder / "items").append(pa.table([ids, numbers, ids], schema=schema.ITEMS))
    rng = np.random.default_rng(0)
    for start in range(0, users, USERS_A_SHARD):
        rows = np.repeat(
            np.arange(start, min(start + USERS_A_SHARD, users), dtype=np.int32), LENGTH
        )
        columns = [
            pa.array(rows).cast(pa.string()),
            rows + 1,
            rng.integers(1, items + 1, len(rows), dtype=np.int32),
            pa.nulls(len(rows), pa.int64()),
            np.tile(np.arange(LENGTH, dtype=np.int32), len(rows) // LENGTH),
        ]
        Table(folder / "interactions").append(pa.table(columns, schema=schema.INTERACTIONS))
    write_json(folder / "dataset.json", {"schema_version": schema.SCHEMA_VERSION, "steps": {}})
    return open_dataset(folder)


def write_files(folder: Path, data: Dataset) -> list[Path]:
    """The same histories with one row per interaction, and with one row per user."""
    items = pa.array(data.interactions.column("item").to_numpy() - 1)
    ids = data.items.column("item_id").take(items)
    pairs = pa.table({"user_id": data.interactions.column("user_id"), "item_id": ids})
    csv, parquet, lines = (folder / f"asked.{ending}" for ending in ("csv", "parquet", "jsonl"))
    pa.csv.write_csv(pairs, csv)
    pa.parquet.write_table(pairs, parquet)
    firsts = pa.array(np.arange(0, pairs.num_rows, LENGTH))
    lists = pa.FixedSizeListArray.from_arrays(ids.combine_chunks(), LENGTH)
    users = pa.table({"user_id": pairs.column("user_id").take(firsts), "items": lists})
    users.to_pandas().to_json(lines, orient="records", lines=True)
    return [csv, parquet, lines]


def loop(data: Dataset) -> dict[str, list[int]]:
    """The histories, row by row."""
    histories: dict[str, list[int]] = {}
    columns = (data.interactions.column(name).to_pylist() for name in ("user_id", "item"))
    for user, item in zip(*columns, strict=True):
        histories.setdefault(user, []).append(item)
    return histories


def timed(what: str, work: Callable[[], Any]) -> Any:
    """Runs `work` and prints its seconds. On a busy machine, rely on the CPU-seconds."""
    started, busy = time.perf_counter(), time.process_time()
    found = work()
    seconds, busy = time.perf_counter() - started, time.process_time() - busy
    print(f"{what}: {seconds:.2f} s, {busy:.2f} s of CPU", flush=True)
    return found


if __name__ == "__main__":
    torch.manual_seed(0)
    main()
