"""Prefetch: computes the next values in a thread while the caller uses the current one."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import Any, TypeVar

import torch

from models.machine.tensors import tensors_of

DEPTH = 2  # values that are computed, or being computed, beyond the one in use

Argument = TypeVar("Argument")
Value = TypeVar("Value")


def make_each(
    make: Callable[[Argument], Value],
    arguments: Iterable[Argument],
    *,
    prefetch: bool,
    device: torch.device | str,
) -> Iterator[Value]:
    """Yields `make` of each argument, in order.

    Args:
        make: a pure function; an error that it raises is raised here, in the order of arguments.
        arguments: of `make`, one each.
        prefetch: whether a thread computes the next values while the caller uses the current one.
        device: where `make` puts tensors. On a GPU the thread has a stream of its own, so that its copies run beside
            the caller's kernels.
    """
    if not prefetch:
        return map(make, arguments)
    return _prefetched(make, iter(arguments), torch.device(device))


def _prefetched(
    make: Callable[[Argument], Value], arguments: Iterator[Argument], device: torch.device
) -> Iterator[Value]:
    stream = torch.cuda.Stream(device) if device.type == "cuda" else None

    def work(argument: Argument) -> tuple[Value, torch.cuda.Event | None]:
        with torch.cuda.stream(stream):
            return make(argument), stream.record_event() if stream else None

    with ThreadPoolExecutor(1, thread_name_prefix="prefetch") as pool:
        pending = deque(pool.submit(work, argument) for argument in islice(arguments, DEPTH))
        while pending:
            value, copied = pending.popleft().result()
            pending.extend(pool.submit(work, argument) for argument in islice(arguments, 1))
            if copied is not None:
                _hand_over(value, copied, torch.cuda.current_stream(device))
            yield value


def _hand_over(value: Any, copied: torch.cuda.Event, to: torch.cuda.Stream) -> None:
    """Makes the caller's stream wait for the copies, and keeps their memory until that stream has used them."""
    to.wait_event(copied)
    for tensor in tensors_of(value):
        if tensor.is_cuda:
            tensor.record_stream(to)
