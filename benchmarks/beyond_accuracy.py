"""What the metrics beyond accuracy add to an evaluation: CPU-seconds with and without them, and their values.

    OMP_NUM_THREADS=1 python -m benchmarks.beyond_accuracy --data DATASET RUN …

CPU-seconds of the process are printed, so that a busy machine does not change them much. The medians are of three
rounds; loading the run and encoding its catalogue are in neither.
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import models
from models.inputs.content import open_content
from models.ranking.ranks import rank_and_list
from toolkit import beyond_accuracy as beyond
from toolkit import metrics

ROUNDS = 3


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("runs", type=Path, nargs="+")
    parser.add_argument("--data", type=Path, help="the current path of the runs' dataset")
    options = parser.parse_args()
    for run in options.runs:
        measure(run, options.data)


def measure(run: Path, data: Path | None) -> None:
    """Measures one run."""
    loading = time.process_time()
    trained = models.load(run, data=data)
    splits, catalogue = trained.splits, trained.catalogue
    test = splits.test
    loading = time.process_time() - loading

    def lists(k: int) -> Any:
        return rank_and_list(trained.model, catalogue, test, k=k)

    def metrics_of_lists() -> Any:
        content = open_content(trained.dataset)
        return beyond.summarise(
            listed.lists,
            test.targets,
            beyond.training_counts(splits.train, items=trained.dataset.items.num_rows),
            catalogue=test.catalogue,
            users=test.users,
            vectors=None if content is None else content.vectors,
        )

    listed = lists(beyond.K)
    parts = {
        "ranks": lambda: lists(0),
        "ranks and lists": lambda: lists(beyond.K),
        "metrics of ranks": lambda: metrics.summarise(listed.ranks),
        "metrics of lists": metrics_of_lists,
    }
    seconds = {name: median(part) for name, part in parts.items()}
    before = seconds["ranks"] + seconds["metrics of ranks"]
    added = seconds["ranks and lists"] - seconds["ranks"] + seconds["metrics of lists"]
    print(
        f"{run.name}: {len(test):,} targets, {len(test.catalogue):,} items; load and encode {loading:.2f} s;",
        ", ".join(f"{name} {value:.2f} s" for name, value in seconds.items()),
        f"; {added:.2f} s more than {before:.2f} s of ranking, {100 * added / (loading + before):.0f} % of the evaluation",
    )
    print(json.dumps(metrics_of_lists()), flush=True)


def median(part: Callable[[], Any]) -> float:
    """The median CPU-seconds of a function."""
    found = []
    for _ in range(ROUNDS):
        started = time.process_time()
        part()
        found.append(time.process_time() - started)
    return statistics.median(found)


if __name__ == "__main__":
    main()
