"""SIGTERM and SIGUSR1, which schedulers send before they take a machine away: the run ends after its step, resumable."""

import signal
import threading
from types import FrameType, TracebackType
from typing import Any

import torch
import torch.distributed as dist

from models.machine.parallel import rank_and_world

SIGNALS = (signal.SIGTERM, signal.SIGUSR1)
_BEYOND = (
    128  # an exit status beyond it is that of a program which a signal ended, as shells have it
)


class Stopped(SystemExit):
    """A run that a signal has ended at a checkpoint; its exit status is 128 and the signal's number.

    Args:
        number: of the signal.
    """

    def __init__(self, number: int) -> None:
        super().__init__(_BEYOND + number)


class Stopping:
    """Catches the signals within a `with` block; outside of the main thread, where none arrives, it catches nothing.

    A signal may reach one process of several: `signal` tells them all.
    """

    def __init__(self) -> None:
        self._caught = 0
        self._before: dict[int, Any] = {}
        self._group: Any = None

    def __enter__(self) -> "Stopping":
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.signal(number, self._catch) for number in SIGNALS}
        if rank_and_world()[1] > 1:  # the processors talk, so that no step waits for a GPU
            self._group = dist.new_group(backend="gloo")
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        if self._group is not None and kind is None:  # others may be elsewhere after an error
            dist.destroy_process_group(self._group)

    def signal(self) -> int:
        """The number of a signal that some process has caught, the same in all; 0 for none. All call it."""
        if self._group is None:
            return self._caught
        caught = torch.tensor([self._caught])
        dist.all_reduce(caught, dist.ReduceOp.MAX, group=self._group)
        return int(caught)

    def _catch(self, number: int, frame: FrameType | None) -> None:
        self._caught = number
