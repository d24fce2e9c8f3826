"""Measures time and memory of graph recommenders: `python -m benchmarks.graphs KIND [USERS ITEMS INTERACTIONS]`.

One process, random interactions, width 64, two towers of width 64 if the model reads features. A line per run: CPU seconds per
forward and backward pass over the whole graph, and the largest resident memory of the process, in MiB, beside what it has
before the model. Memory is that of the sizes given: run a process per size.
"""

import argparse
import resource
import time
from pathlib import Path

import numpy as np
import torch

from models.general import GENERAL
from models.general.kind import observe
from models.inputs.interactions import Interactions

PAGE = resource.getpagesize()


def resident() -> float:
    """Resident memory of this process in MiB."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * PAGE / 2**20


def draw(users: int, items: int, count: int) -> Interactions:
    """`count` distinct pairs of a uniform user and an item whose popularity falls with its number."""
    rng = np.random.default_rng(0)
    pairs = np.empty(0, dtype=np.int64)
    while len(pairs) < count:
        rows, columns = (
            rng.integers(users, size=count),
            (items * rng.random(count) ** 2).astype(int),
        )
        pairs = np.unique(np.concatenate([pairs, rows * items + columns]))
    pairs = np.sort(rng.permutation(pairs)[:count])
    return Interactions(
        users=pairs // items + 1,
        items=pairs % items + 1,
        positions=np.zeros_like(pairs),
        user_count=users,
        item_count=items,
    )


def main() -> None:
    """Prints the line of one kind and size."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "kind", choices=[kind for kind in GENERAL if hasattr(GENERAL[kind].module, "observe")]
    )
    parser.add_argument("users", type=int, nargs="?", default=100_000)
    parser.add_argument("items", type=int, nargs="?", default=50_000)
    parser.add_argument("interactions", type=int, nargs="?", default=1_000_000)
    parser.add_argument("--steps", type=int, default=3)
    options = parser.parse_args()
    declaration = GENERAL[options.kind]
    interactions = draw(options.users, options.items, options.interactions)
    before = resident()
    model = declaration.build(
        declaration.settings(), users=options.users, items=options.items, embedding_dim=64
    )
    features = {
        tower: torch.randn(options.items + 1, 64) for tower in ("title", "cover")
    } if declaration.reads == "features" else {}  # fmt: skip
    observe(model, interactions, features)
    seconds = []
    for _ in range(options.steps):
        begin = time.process_time()
        tables = model.tables(None)  # type: ignore[operator]
        (tables.items[1:].square().mean() + tables.users[1:].square().mean()).backward()
        seconds.append(time.process_time() - begin)
        model.zero_grad()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(
        f"{options.kind}: {options.users} users, {options.items} items, {options.interactions} interactions: "
        f"{min(seconds):.2f} CPU seconds per pass, {peak:.0f} MiB, of which {before:.0f} MiB before the model"
    )


if __name__ == "__main__":
    main()
