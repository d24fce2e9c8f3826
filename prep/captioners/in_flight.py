"""Runs a bounded number of concurrent calls in threads, and yields results as they finish."""

from collections.abc import Callable, Generator, Iterable
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from itertools import islice
from threading import Event
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


def as_they_finish(
    call: Callable[[Item, Event], Result], items: Iterable[Item], *, at_once: int
) -> Generator[tuple[int, Future[Result]], None, None]:
    """Calls `call` for each item in threads, which end with this generator, also by `close`.

    After a call has raised, no further call starts; calls in progress are still yielded.

    Args:
        call: function of an item and an event, which is set when the result is no longer needed.
        items: consumed as needed, at most twice `at_once` ahead of the yielded results.
        at_once: number of concurrent calls.

    Yields:
        The index of an item and its finished call: a result or an exception.
    """
    rows = enumerate(items)
    submitted: dict[Future[Result], int] = {}
    nobody_waits = Event()
    pool = ThreadPoolExecutor(at_once, thread_name_prefix="caption")
    try:
        while True:
            for row, item in islice(rows, 2 * at_once - len(submitted)):
                submitted[pool.submit(call, item, nobody_waits)] = row
            if not submitted:
                return
            wait(submitted, return_when=FIRST_COMPLETED)
            finished = next(future for future in submitted if future.done())  # the oldest
            row = submitted.pop(finished)
            if finished.exception():
                rows = enumerate(())
                submitted = {other: of for other, of in submitted.items() if not other.cancel()}
            yield row, finished
    finally:
        nobody_waits.set()
        pool.shutdown(cancel_futures=True)
