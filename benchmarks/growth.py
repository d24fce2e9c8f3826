"""Seconds of an epoch and of an evaluation by number of users and number of items.

    OMP_NUM_THREADS=2 GOMP_SPINCOUNT=10000 python -m benchmarks.growth [--users 10000 100000 1000000]
        [--items 20000 200000 1000000] [--steps N]

Histories have 5 to 13 items drawn uniformly, so every batch has as many different items as possible. Two towers of
3 x 64 random float16 states, recipe `paper`. Each pair of numbers runs in its own process. The epoch is complete
unless `--steps` ends it; its median step then stands for the rest.
"""

import argparse
import resource
import statistics
import subprocess
import sys
import time
from dataclasses import asdict
from itertools import islice

import numpy as np
import pyarrow as pa
import torch

from benchmarks.train import load
from models.config import RatesConfig
from models.inputs.batches import Batches
from models.inputs.features import StoredStates
from models.items import SideNetwork
from models.ranking.catalogue import encode_catalogue
from models.ranking.ranks import rank_targets
from models.recommender import Recommender
from models.sequence import SASRec
from models.training.optimizer import make_optimizer
from toolkit.splits import Evaluation, Splits, make_splits
from toolkit.states import StateTable
from toolkit.towers import TowerSpec

LAYERS, WIDTH, TOWERS = 3, 64, ("title", "cover")
RANKED_USERS = 10_000
HEAD = """| users | items | epoch | step | unique items per step | per user | catalogue | 10,000 users ranked | splits | peak memory | load |
|---|---|---|---|---|---|---|---|---|---|---|"""


def main() -> None:
    """Measures every pair in a new process, or a single requested pair in this one."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--users", type=int, nargs="+", default=[10_000, 100_000, 1_000_000])
    parser.add_argument("--items", type=int, nargs="+", default=[20_000, 200_000, 1_000_000])
    parser.add_argument("--steps", type=int, help="maximum number; by default a whole epoch")
    options = parser.parse_args()
    pairs = [(users, items) for users in options.users for items in options.items]
    if len(pairs) == 1:
        measure(*pairs[0], options.steps)
        return
    print(HEAD, flush=True)
    for users, items in pairs:
        words = ["--users", str(users), "--items", str(items)]
        words += ["--steps", str(options.steps)] if options.steps else []
        subprocess.run([sys.executable, "-m", "benchmarks.growth", *words], check=True)


def measure(users: int, items: int, at_most: int | None) -> None:
    """Trains one epoch, evaluates, and prints a line of the table."""
    started = time.perf_counter()
    splits = random_splits(users, items)
    cut = time.perf_counter() - started
    rng = torch.Generator().manual_seed(0)
    tables = {
        name: StateTable.of(torch.randn(items + 1, LAYERS, WIDTH, generator=rng).half())
        for name in TOWERS
    }
    features = StoredStates(tables)
    torch.manual_seed(0)
    specs = [TowerSpec(name, layers=LAYERS, width=WIDTH) for name in TOWERS]
    model = Recommender(SideNetwork(specs), SASRec())
    batches = Batches(splits, features, batch_size=64, seed=0)
    steps, unique = train(model, batches, at_most or len(batches))
    median = statistics.median(steps)
    epoch = sum(steps) + median * (len(batches) - len(steps))
    model.eval()
    started = time.perf_counter()
    catalogue = encode_catalogue(model, features, splits.catalogue, device="cpu")
    encoding = time.perf_counter() - started
    test = splits.test
    few = Evaluation(
        inputs=test.inputs[:RANKED_USERS],
        targets=test.targets[:RANKED_USERS],
        history=test.history,
        starts=test.starts[:RANKED_USERS],
        stops=test.stops[:RANKED_USERS],
        target_can_repeat=test.target_can_repeat,
        user_ids=test.user_ids[:RANKED_USERS],
        users=test.users[:RANKED_USERS],
        rows=test.rows[:RANKED_USERS],
        catalogue=test.catalogue,
    )
    started = time.perf_counter()
    rank_targets(model, catalogue, few)
    ranking = time.perf_counter() - started
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(
        f"| {users:,} | {items:,} | {epoch:.1f} s | {1e3 * median:.1f} ms | "
        f"{unique:.0f} | {1e6 * epoch / users:.0f} µs | {encoding:.2f} s | {ranking:.2f} s | {cut:.1f} s | "
        f"{peak:.1f} GiB | {load()} |",
        flush=True,
    )


def random_splits(users: int, items: int) -> Splits:
    """Splits of random histories."""
    rng = np.random.default_rng(0)
    lengths = rng.integers(5, 14, size=users)
    user = np.repeat(np.arange(1, users + 1, dtype=np.int32), lengths)
    table = pa.table(
        {
            "user_id": pa.array(user).cast(pa.string()),
            "user": user,
            "item": rng.integers(1, items + 1, size=len(user), dtype=np.int32),
        }
    )
    return make_splits(table, items=items)


def train(model: Recommender, batches: Batches, steps: int) -> tuple[list[float], float]:
    """The first steps of an epoch: seconds of each, including its batch, and the mean number of unique items."""
    optimizer = make_optimizer(model, rates=asdict(RatesConfig()))
    model.train()
    seconds, unique = [], 0
    last = time.perf_counter()
    for batch in islice(batches.epoch(1), steps):
        model(batch).backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        unique += len(batch.items)
        seconds.append(time.perf_counter() - last)
        last += seconds[-1]
    return seconds, unique / steps


if __name__ == "__main__":
    main()
