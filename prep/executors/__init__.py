"""Where a step's function runs; every executor gives the results in the order of the batches."""

from collections.abc import Callable, Generator, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import TypeAlias

import pyarrow as pa

from prep.config import PrepConfig
from prep.executors import cluster, local

__all__ = ["Executor", "Work", "choose", "processes", "running"]

# Pickled once for each worker: what a work loads when it is first called and keeps, such as a
# model, is loaded once a worker. Work that is pickled takes no such thing with it.
Work: TypeAlias = Callable[[pa.RecordBatch], pa.Table]
Executor: TypeAlias = Callable[[Work, Sequence[pa.RecordBatch]], Generator[pa.Table, None, None]]


def choose(config: PrepConfig, *, model: bool = False) -> Executor:
    """The executor that a configuration names.

    Args:
        config: `executor`, `address`, `gpus_per_worker` and `media.workers` are read here.
        model: whether each worker holds a model. Locally that is this process; in a cluster it is
            a worker for each GPU or, without GPUs, for each machine.
    """
    if config.executor == "ray":
        return partial(
            cluster.in_cluster,
            address=config.address,
            workers=config.media.workers,
            model=model,
            gpus_per_worker=config.gpus_per_worker if model else 0,
        )
    return local.here if model else processes(config.media.workers)


def processes(workers: int) -> Executor:
    """An executor of so many local processes; 1 works in this one, 0 takes one a CPU core."""
    count = workers or local.cpu_count()
    return local.here if count == 1 else partial(local.in_processes, workers=count)


def running(config: PrepConfig) -> AbstractContextManager[None]:
    """Keeps what the executor works with, so that several steps share it: a cluster, or nothing."""
    return cluster.cluster(config.address) if config.executor == "ray" else nullcontext()
