"""Prefetch: threads compute values while the caller uses earlier ones. Values and their order do not depend on it."""

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from typing import Any, Generic, TypeVar

Argument = TypeVar("Argument")
Value = TypeVar("Value")

DEPTH = 2  # values that are computed, or being computed, beyond the one in use
MUCH = 0.1  # share of waiting above which a consumer is told what would shorten it
_END: Any = object()


def in_order(
    make: Callable[[Argument], Value], arguments: Iterable[Argument], *, pool: Executor, depth: int
) -> Iterator[Value]:
    """Yields `make` of each argument, in the order of the arguments, computed in a pool.

    Args:
        make: a pure function; an error that it raises is raised here, in the order of the arguments.
        arguments: are read as they are needed.
        pool: computes.
        depth: number of values in progress or computed, beyond the one in use.
    """
    pending: deque[Future[Value]] = deque()
    for argument in arguments:
        pending.append(pool.submit(make, argument))
        if len(pending) > depth:
            yield pending.popleft().result()
    while pending:
        yield pending.popleft().result()


class Prefetched(Iterator[Value]):
    """The values of an iterator, which a thread computes from now on, a few ahead of the caller.

    Args:
        values: runs in the thread; an error that it raises is raised here, in order.
        depth: number of values computed, or being computed, beyond the one in use.
    """

    def __init__(self, values: Iterator[Value], *, depth: int = DEPTH) -> None:
        self._values = values
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="prefetch")
        self._pending = deque(self._thread.submit(next, values, _END) for _ in range(depth))

    def __next__(self) -> Value:
        value = self._pending.popleft().result() if self._pending else _END
        if value is _END:
            self.close()
            raise StopIteration
        self._pending.append(self._thread.submit(next, self._values, _END))
        return value

    def close(self) -> None:
        """Ends the thread; no value follows."""
        self._pending.clear()
        self._thread.shutdown(cancel_futures=True)


class Waiting(Generic[Value]):
    """The time in which a consumer waited for values, and that in which it used them.

    Attributes:
        waited_seconds: time until a requested value was there.
        used_seconds: time between a value and the request of the next one.
    """

    def __init__(self) -> None:
        self.waited_seconds = 0.0
        self.used_seconds = 0.0

    def over(self, values: Iterable[Value]) -> Iterator[Value]:
        """Yields the values, and adds up both times."""
        requested = time.perf_counter()
        for value in values:
            received = time.perf_counter()
            self.waited_seconds += received - requested
            yield value
            requested = time.perf_counter()
            self.used_seconds += requested - received

    @property
    def share(self) -> float:
        """Share of the time in which the consumer waited, in [0, 1]."""
        total = self.waited_seconds + self.used_seconds
        return self.waited_seconds / total if total else 0.0
