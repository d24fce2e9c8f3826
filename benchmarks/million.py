"""Nanoseconds of CPU per score of ranking and of top-k lists, by number of items; of another checkout too.

    OMP_NUM_THREADS=1 python -m benchmarks.million [--items 20000 100000 1000000] [--scores 500000000]
        [--other CHECKOUT] [--rounds 1]

Vectors have 64 random numbers. A user is the vector of the last item of a history of ten, which are masked, so that no
time is spent in a sequence encoder. Each line of the table is measured in processes of its own, in which both checkouts
alternate; it has the medians. A score counts once for a ranking (`rank_targets`), and once for a ranking with lists of ten
(`rank_and_list`). Wall times are printed beside the CPU times: with several threads they are the shorter ones.
"""

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

HISTORY, WIDTH, K = 10, 64, 10
HERE = Path(__file__).resolve()


def main() -> None:
    """Measures every number of items, or in this process what `--measure` asks for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--items", type=int, nargs="+", default=[20_000, 100_000, 1_000_000])
    parser.add_argument("--scores", type=int, default=500_000_000, help="number of timed scores")
    parser.add_argument("--other", type=Path, help="root of another checkout of Versa")
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--measure", type=int, nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        print(json.dumps(measure(*options.measure)))
        return
    checkouts = {"this": HERE.parents[1]}
    if options.other:
        checkouts["other"] = options.other.resolve()
    print(
        "| items | users | checkout | ranked: CPU | wall | with lists: CPU | wall | peak memory |"
    )
    print("|---|---|---|---|---|---|---|---|", flush=True)
    for items in options.items:
        users = max(options.scores // items, 1)
        found: dict[str, list[dict[str, float]]] = {name: [] for name in checkouts}
        for _ in range(options.rounds):
            for name, root in checkouts.items():
                found[name].append(in_checkout(root, items, users))
        for name, measured in found.items():
            cells = [
                f"{statistics.median(one[key] for one in measured):.2f} {unit}"
                for key, unit in zip(measured[0], ("ns", "ns", "ns", "ns", "GiB"), strict=True)
            ]
            print(f"| {items:,} | {users:,} | {name} | {' | '.join(cells)} |", flush=True)
    print(f"{torch.get_num_threads()} threads; load average {os.getloadavg()[0]:.1f}")


def in_checkout(root: Path, items: int, users: int) -> dict[str, float]:
    """The measurements of a process that imports Versa from a checkout."""
    command = [sys.executable, str(HERE), "--measure", str(items), str(users)]
    environment = {**os.environ, "PYTHONPATH": str(root)}
    answer = subprocess.run(command, check=True, capture_output=True, text=True, env=environment)
    measured: dict[str, float] = json.loads(answer.stdout.splitlines()[-1])
    return measured


def measure(items: int, users: int) -> dict[str, float]:
    """Nanoseconds per score, of CPU and of the clock, and the peak memory of this process in GiB."""
    from models.inputs.tables import Tables
    from models.inputs.users import Users
    from models.ranking.catalogue import make_catalogue
    from models.ranking.ranks import rank_and_list
    from toolkit.splits import Evaluation

    class LastItem:
        """Users are the vectors of their last items."""

        own_scores = None

        def user_vectors(self, users: Users, tables: Tables) -> Tensor:
            return tables.items[users.inputs[:, -1]]

    rng = np.random.default_rng(0)
    numbers = np.arange(1, items + 1, dtype=np.int32)
    histories = rng.integers(1, items + 1, size=(users, HISTORY + 1), dtype=np.int32)
    starts = np.arange(users) * (HISTORY + 1)
    evaluation = Evaluation(
        inputs=histories[:, :HISTORY],
        targets=histories[:, HISTORY],
        history=histories.ravel(),
        starts=starts,
        stops=starts + HISTORY,
        target_can_repeat=True,
        user_ids=[str(user) for user in range(users)],
        users=np.arange(users),
        rows=np.zeros(users, dtype=np.int64),
        catalogue=numbers,
    )
    table = torch.from_numpy(rng.standard_normal((items + 1, WIDTH), dtype=np.float32))
    catalogue = make_catalogue(table, torch.arange(items + 1), numbers)
    found = {}
    for name, k in (("ranks", 0), ("lists", K)):
        busy, started = time.process_time(), time.perf_counter()
        rank_and_list(LastItem(), catalogue, evaluation, k=k)  # type: ignore[arg-type]
        busy, seconds = time.process_time() - busy, time.perf_counter() - started
        found[f"{name}_cpu_ns"] = 1e9 * busy / (users * items)
        found[f"{name}_wall_ns"] = 1e9 * seconds / (users * items)
    found["peak_gib"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    return found


if __name__ == "__main__":
    main()
