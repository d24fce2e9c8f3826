"""Calls in threads: so many at a time, told as they finish."""

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
    """Calls `call` for each item, in threads that are gone when this ends, be it by `close`.

    Once a call is known to have raised, no other begins; those that run are still told.

    Args:
        call: gets an item, and an event that is set once nobody waits for the result any more.
        items: taken as they are needed, never more than twice `at_once` ahead of what was yielded.
        at_once: how many calls run at a time.

    Yields:
        The index of an item and its call, finished: a result or an exception.
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
            finished = next(future for future in submitted if future.done())  # the oldest one
            row = submitted.pop(finished)
            if finished.exception():
                rows = enumerate(())
                submitted = {other: of for other, of in submitted.items() if not other.cancel()}
            yield row, finished
    finally:
        nobody_waits.set()
        pool.shutdown(cancel_futures=True)
