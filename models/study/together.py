"""Runs a study in the processes of a launcher: they train every run together, one run after the other."""

from collections.abc import Callable
from typing import Any

import torch.distributed as dist

from models.machine.launcher import connected
from models.machine.parallel import rank_and_world
from models.study.executors import Ended, Executor
from models.study.trials import Task, work
from toolkit.errors import UserError

Results = dict[str, Any]


class Together:
    """An executor whose tasks the processes of the launcher work on together; used in the first process.

    Args:
        metric: the study's metric.
    """

    def __init__(self, metric: str) -> None:
        self.metric = metric
        self.task: Task | None = None

    def has_room(self) -> bool:
        """Whether another task can start."""
        return self.task is None

    def start(self, task: Task) -> None:
        """Keeps a task until `wait`."""
        self.task = task

    def wait(self) -> list[Ended]:
        """Works on the task in all processes; an empty list if there is none."""
        if self.task is None:
            return []
        task, self.task = _from_first(self.task), None
        work(task, self.metric, threads=0)
        return [Ended(task, "")]


def lead(run: Callable[[Executor], Results], metric: str) -> Results:
    """Calls `run` in the first process, whose tasks all processes work on, and returns its results in all processes.

    Args:
        run: runs a study with an executor.
        metric: the study's metric.

    Raises:
        UserError: in all processes, where `run` raises it.
    """
    with connected():
        rank, _ = rank_and_world()
        if rank:
            return _follow(metric)
        try:
            results = run(Together(metric))
        except UserError as error:
            _from_first(error)
            raise
        return _from_first(results)


def _follow(metric: str) -> Results:
    """Works on the tasks of the first process until it sends the results."""
    while isinstance(message := _from_first(None), Task):
        work(message, metric, threads=0)
    if isinstance(message, UserError):
        raise message
    results: Results = message
    return results


def _from_first(message: Any) -> Any:
    """The message of the first process, in all processes."""
    shared = [message]
    dist.broadcast_object_list(shared, src=0)
    return shared[0]
