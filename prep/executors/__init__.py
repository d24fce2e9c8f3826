"""Where a step's function runs; every executor gives the results in the order of the batches."""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import TypeAlias

import pyarrow as pa

from prep.executors import local

__all__ = ["Executor", "Work", "processes"]

Work: TypeAlias = Callable[[pa.RecordBatch], pa.Table]
Executor: TypeAlias = Callable[[Work, Sequence[pa.RecordBatch]], Iterator[pa.Table]]


def processes(workers: int) -> Executor:
    """An executor of so many local processes; 1 works in this one, 0 takes one a CPU core."""
    count = workers or local.cpu_count()
    return local.here if count == 1 else partial(local.in_processes, workers=count)
