"""Executors, which run a step's function on batches; every executor yields results in the order of the batches."""

from collections.abc import Callable, Generator, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import TypeAlias

import pyarrow as pa

from prep.config import PrepConfig
from prep.executors import cluster, local

__all__ = ["Executor", "Work", "choose", "processes", "running"]

# Pickled once per worker. What a work loads at its first call and keeps, such as a model, is loaded once per worker and
# must not be pickled.
Work: TypeAlias = Callable[[pa.RecordBatch], pa.Table]
Executor: TypeAlias = Callable[[Work, Sequence[pa.RecordBatch]], Generator[pa.Table, None, None]]


def choose(config: PrepConfig, *, model: bool = False) -> Executor:
    """The configured executor.

    Args:
        config: uses `executor`, `address`, `gpus_per_worker` and `media.workers`.
        model: whether each worker holds a model. Locally, this process is the only worker; a cluster has one
            worker per GPU or, without GPUs, per machine.
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
    """An executor with `workers` local processes; 1 runs in this process, 0 uses one per CPU core."""
    count = workers or local.cpu_count()
    return local.here if count == 1 else partial(local.in_processes, workers=count)


def running(config: PrepConfig) -> AbstractContextManager[None]:
    """Keeps the resources of the executor, such as a cluster, open for several steps."""
    return cluster.cluster(config.address) if config.executor == "ray" else nullcontext()
