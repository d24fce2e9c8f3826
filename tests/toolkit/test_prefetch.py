"""Prefetch keeps values, order and errors, computes only a few values ahead, and counts who waits for whom."""

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from toolkit.prefetch import Prefetched, Waiting, in_order


def test_values_keep_their_order_and_only_a_few_are_ahead() -> None:
    asked: list[int] = []

    def numbers() -> Iterator[int]:
        for number in range(9):
            asked.append(number)
            yield number

    def late(number: int) -> int:
        time.sleep(0.002 * (number % 3))  # the first of each three is done before the last
        return number**2

    with ThreadPoolExecutor(3) as pool:
        values = in_order(late, numbers(), pool=pool, depth=3)
        assert next(values) == 0 and asked == [0, 1, 2, 3]
        assert list(values) == [number**2 for number in range(1, 9)]


def test_a_thread_begins_at_once_and_stays_a_few_values_ahead() -> None:
    threads, begun = set(), threading.Event()

    def numbers() -> Iterator[int]:
        for number in range(6):
            threads.add(threading.current_thread())
            if number == 1:
                begun.set()
            yield number

    values = Prefetched(numbers(), depth=2)
    assert begun.wait(10)  # nobody has asked for a value
    assert list(values) == list(range(6)) and list(values) == []
    assert len(threads) == 1 and threading.current_thread() not in threads


@pytest.mark.parametrize("workers", [1, 4])
def test_errors_come_in_order(workers: int) -> None:
    def broken(number: int) -> int:
        if number == 2:
            raise ValueError("no luck")
        return number

    def both() -> Iterator[int]:
        with ThreadPoolExecutor(workers) as pool:
            yield from in_order(broken, range(5), pool=pool, depth=workers)

    values = Prefetched(both())
    assert [next(values), next(values)] == [0, 1]
    with pytest.raises(ValueError, match="no luck"):
        next(values)
    assert list(values) == []


def test_a_closed_prefetch_computes_nothing_more() -> None:
    asked: list[int] = []
    values = Prefetched(iter(lambda: asked.append(1), 1), depth=2)
    next(values)
    values.close()
    count = len(asked)
    assert list(values) == [] and len(asked) == count <= 3


def test_waiting_is_told_from_using(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr(time, "perf_counter", lambda: now[0])

    def slow() -> Iterator[int]:
        for number in range(2):
            now[0] += 3
            yield number

    waiting = Waiting[int]()
    assert waiting.share == 0
    for _ in waiting.over(slow()):
        now[0] += 1
    assert (waiting.waited_seconds, waiting.used_seconds, waiting.share) == (6, 2, 0.75)
