"""Ctrl-C is handled by the parent alone, although a terminal sends it to every process."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing import resource_tracker


@contextmanager
def leaving_interrupts() -> Iterator[None]:
    """Processes that are spawned in this block never receive Ctrl-C, not even during their imports.

    The caller receives it at the block's end. Systems without signal masks spawn as usual.
    """
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    resource_tracker.ensure_running()  # otherwise it would start in this block, and lift the mask
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
