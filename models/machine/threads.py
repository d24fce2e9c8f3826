"""The processes of a run on one machine, and the threads of each."""

import os

from toolkit.workers import cpu_count


def processes_here() -> int:
    """Number of this run's processes on this machine, as torch's and Accelerate's launchers set it."""
    return int(os.environ.get("LOCAL_WORLD_SIZE", "1"))


def threads_of(workers: int) -> int:
    """The number of threads that a setting of workers asks for in this process.

    Args:
        workers: the number; 0 for the CPU cores of this machine, divided by the run's processes here.
    """
    return workers or max(cpu_count() // processes_here(), 1)
