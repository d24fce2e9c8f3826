"""Executors of trials: processes of this machine, or tasks of a Ray cluster. A task that crashes does not end the study."""

import multiprocessing
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.connection import wait
from multiprocessing.process import BaseProcess
from typing import Any, NamedTuple, Protocol

from models.study.trials import Task, work
from toolkit.errors import UserError
from toolkit.ray_cluster import cluster
from toolkit.workers import cpu_count, end_with_parent

_PRELOADED = ["models.train", "models.runs.run", "torch._dynamo", "pandas"]
_STOP_SECONDS = 20.0  # for a checkpoint, before a process is killed
_STOPPED = (128 + signal.SIGTERM, 128 + signal.SIGUSR1, -signal.SIGTERM)


class Ended(NamedTuple):
    """A task whose process has ended.

    Args:
        task: the task.
        died: how the process ended, if it did not end by itself; else empty.
    """

    task: Task
    died: str


class Executor(Protocol):
    """Runs tasks at the same time."""

    def has_room(self) -> bool:
        """Whether another task can start."""

    def start(self, task: Task) -> None:
        """Starts a task."""

    def wait(self) -> list[Ended]:
        """Waits until a task ends; an empty list if none is running."""


class Processes:
    """Processes that fork from one that has imported torch, so that each starts at once.

    Args:
        jobs: number of processes at the same time; the machine's cores are divided among them.
        metric: the study's metric.
    """

    def __init__(self, jobs: int, metric: str) -> None:
        self.jobs, self.metric = jobs, metric
        asked = "OMP_NUM_THREADS" in os.environ
        self.threads = 0 if asked or jobs == 1 else max(1, cpu_count() // jobs)
        self.context = multiprocessing.get_context("forkserver")
        self.context.set_forkserver_preload(_PRELOADED)
        self.running: dict[int, tuple[Task, BaseProcess]] = {}

    def has_room(self) -> bool:
        """Whether another task can start."""
        return len(self.running) < self.jobs

    def start(self, task: Task) -> None:
        """Starts a task."""
        arguments = (task, self.metric, self.threads)
        process = self.context.Process(target=_work_in_process, args=arguments)
        process.start()
        self.running[process.sentinel] = task, process

    def wait(self) -> list[Ended]:
        """Waits until a task ends.

        Raises:
            UserError: if somebody stopped a process.
        """
        ended = []
        for sentinel in wait(list(self.running)):
            assert isinstance(sentinel, int)
            task, process = self.running.pop(sentinel)
            process.join()
            code = process.exitcode
            if code in _STOPPED:
                raise UserError(
                    f"{task.run}: a signal stopped the run at a checkpoint; run the command again to continue"
                )
            ended.append(Ended(task, f"its process ended with status {code}" if code else ""))
        return ended

    def stop(self) -> None:
        """Ends all processes, each after a checkpoint if it writes one in time."""
        processes = [process for _, process in self.running.values()]
        for process in processes:
            process.terminate()
        for process in processes:
            process.join(_STOP_SECONDS)
            process.kill()
            process.join()


class RayTasks:
    """Tasks of a Ray cluster; every machine needs the same version of Versa and the same paths.

    Args:
        ray: the module.
        jobs: number of tasks at the same time; 0 for as many as the cluster has room for.
        metric: the study's metric.
        gpus_per_trial: GPUs, or a fraction of one, per task.
    """

    def __init__(self, ray: Any, jobs: int, metric: str, gpus_per_trial: float) -> None:
        self.ray, self.jobs, self.metric = ray, jobs, metric
        resources = {"num_cpus": 1, "num_gpus": gpus_per_trial, "max_retries": 0}
        self.work = ray.remote(**resources)(work)
        self.running: dict[Any, Task] = {}

    def has_room(self) -> bool:
        """Whether another task can start."""
        return not self.jobs or len(self.running) < self.jobs

    def start(self, task: Task) -> None:
        """Starts a task."""
        self.running[self.work.remote(task, self.metric, 0)] = task

    def wait(self) -> list[Ended]:
        """Waits until a task ends."""
        if not self.running:
            return []
        (reference, *_), _ = self.ray.wait(list(self.running), num_returns=1)
        task = self.running.pop(reference)
        try:
            self.ray.get(reference)
        except self.ray.exceptions.RayError as error:
            return [Ended(task, f"its worker died: {str(error).strip().splitlines()[0]}")]
        return [Ended(task, "")]

    def stop(self) -> None:
        """Cancels all tasks."""
        for reference in self.running:
            self.ray.cancel(reference, force=True)


@contextmanager
def executing(
    name: str, *, jobs: int, metric: str, address: str | None = None, gpus_per_trial: float = 0.0
) -> Iterator[Executor]:
    """An executor, which ends its tasks when the block ends.

    Args:
        name: `processes` or `ray`.
        jobs: number of tasks at the same time; 0 uses one process, or all of the cluster.
        metric: the study's metric.
        address: address of a running Ray cluster (`toolkit.ray_cluster.cluster`).
        gpus_per_trial: GPUs per task of a cluster.

    Raises:
        UserError: if there is no such cluster.
    """
    if name == "ray":
        with cluster(address) as ray:
            tasks = RayTasks(ray, jobs, metric, gpus_per_trial)
            try:
                yield tasks
            finally:
                tasks.stop()
        return
    processes = Processes(jobs or 1, metric)
    try:
        yield processes
    finally:
        processes.stop()


def _work_in_process(task: Task, metric: str, threads: int) -> None:
    end_with_parent()
    work(task, metric, threads)
