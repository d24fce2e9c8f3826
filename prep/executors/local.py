"""Local executors: in this process, or in several processes of this machine."""

import multiprocessing
import os
from collections import deque
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from itertools import zip_longest
from typing import Protocol, runtime_checkable

import pyarrow as pa

from toolkit.console.interrupts import leaving_interrupts
from toolkit.errors import UserError
from toolkit.workers import cpu_count, end_with_parent

__all__ = ["ReadsAhead", "cpu_count", "here", "in_processes", "prepare_worker"]


@runtime_checkable
class ReadsAhead(Protocol):
    """A work that can read what a later call needs while it computes."""

    def expect(self, batch: pa.RecordBatch) -> None:
        """Begins to read for a call with this batch; calls come in the same order."""


def here(
    work: Callable[[pa.RecordBatch], pa.Table], batches: Sequence[pa.RecordBatch]
) -> Generator[pa.Table, None, None]:
    """Runs one batch after the other in this process. A work that reads ahead expects each batch one call early."""
    if isinstance(work, ReadsAhead):
        for batch in batches[:1]:
            work.expect(batch)
        for batch, following in zip_longest(batches, batches[1:]):
            if following is not None:
                work.expect(following)
            yield work(batch)
    else:
        yield from map(work, batches)


def in_processes(
    work: Callable[[pa.RecordBatch], pa.Table], batches: Sequence[pa.RecordBatch], *, workers: int
) -> Generator[pa.Table, None, None]:
    """Runs several batches in parallel, one per process; yields results in the order of the batches.

    Each process has a copy of `work` for all its batches. The processes are spawned, not forked, because threads of
    decoders and torch do not survive a fork. At most twice as many batches as workers are in progress, which bounds
    the memory.

    Raises:
        UserError: if a process dies (a decoder crashes, or the system is out of memory).
    """
    if len(batches) < 2:
        yield from here(work, batches)
        return
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(
        min(workers, len(batches)), mp_context=context, initializer=_start, initargs=(work,)
    )
    under_way: deque[Future[pa.Table]] = deque()
    try:
        for batch in batches:
            with leaving_interrupts():
                under_way.append(pool.submit(_run, batch))
            if len(under_way) >= 2 * workers:
                yield under_way.popleft().result()
        while under_way:
            yield under_way.popleft().result()
    except BrokenProcessPool:
        raise UserError(
            "a decoding process died (out of memory, a crash in a decoder, or your own script calls prep outside "
            "of `if __name__ == '__main__':`); finished shards are kept: run the command again with fewer "
            "--media.workers or another --media.backend"
        ) from None
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


_work: Callable[[pa.RecordBatch], pa.Table]  # set in worker processes


def _start(work: Callable[[pa.RecordBatch], pa.Table]) -> None:
    global _work
    prepare_worker()
    _work = work


def _run(batch: pa.RecordBatch) -> pa.Table:
    return _work(batch)


def prepare_worker() -> None:
    """Prepares a worker: it ignores Ctrl-C, ends with its parent, and limits OpenCV to one thread."""
    os.environ.setdefault("OPENCV_FOR_THREADS_NUM", "1")
    end_with_parent()
