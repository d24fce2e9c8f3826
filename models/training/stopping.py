"""SIGTERM and SIGUSR1, which schedulers send before they reclaim a machine: the run ends after an update, resumable."""

import signal
import threading
from types import FrameType, TracebackType
from typing import Any

import torch
import torch.distributed as dist

from models.machine.parallel import TIMEOUT, rank_and_world

SIGNALS = (signal.SIGTERM, signal.SIGUSR1)
_SIGNALLED = (
    128  # a shell's exit status of a program that a signal ended is 128 plus the signal's number
)


class Stopped(SystemExit):
    """A signal ended the run at a checkpoint; the exit status is 128 plus the signal's number.

    Args:
        number: of the signal.
    """

    def __init__(self, number: int) -> None:
        super().__init__(_SIGNALLED + number)


class Stopping:
    """Catches the signals within a `with` block. Outside of the main thread, which alone receives signals, it does nothing.

    A signal may reach only one of several processes; `signal` shares it with all.
    """

    def __init__(self) -> None:
        self._caught = 0
        self._before: dict[int, Any] = {}
        self._group: Any = None

    def __enter__(self) -> "Stopping":
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.signal(number, self._catch) for number in SIGNALS}
        if rank_and_world()[1] > 1:  # on the CPU, so that no step waits for a GPU
            self._group = dist.new_group(backend="gloo", timeout=TIMEOUT)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        if (
            self._group is not None and kind is None
        ):  # after an error the other processes may not arrive here
            dist.destroy_process_group(self._group)

    def signal(self) -> int:
        """The number of the signal that any process has caught, the same in all; 0 for none. All processes call it."""
        if self._group is None:
            return self._caught
        caught = torch.tensor([self._caught])
        dist.all_reduce(caught, dist.ReduceOp.MAX, group=self._group)
        return int(caught)

    def _catch(self, number: int, frame: FrameType | None) -> None:
        self._caught = number
