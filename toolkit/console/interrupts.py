"""Ctrl-C is the parent's business: a terminal sends it to every process, and one of them should speak."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing import resource_tracker


@contextmanager
def leaving_interrupts() -> Iterator[None]:
    """Processes that are spawned in this block never see Ctrl-C, not even while they still import.

    Whoever calls sees it at the block's end. Systems without signal masks spawn as usual.
    """
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    resource_tracker.ensure_running()  # which would otherwise start in this block, and lift the mask
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
