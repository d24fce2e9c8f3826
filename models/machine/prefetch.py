"""Makes the next thing while the caller works on this one: how gathers keep up with training."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import Any, TypeVar

import torch

from models.machine.tensors import tensors_of

DEPTH = 2  # made, or being made, beyond the one in use

Wanted = TypeVar("Wanted")
Made = TypeVar("Made")


def make_each(
    make: Callable[[Wanted], Made],
    wanted: Iterable[Wanted],
    *,
    ahead: bool,
    device: torch.device | str,
) -> Iterator[Made]:
    """`make` of each, in order.

    Args:
        make: a pure function; what it raises is raised here, in its turn.
        wanted: its arguments.
        ahead: whether a thread makes the next ones while the caller uses this one.
        device: where `make` puts tensors. On a GPU the thread has a stream of its own: its copies
            run beside the caller's kernels.
    """
    if not ahead:
        return map(make, wanted)
    return _ahead(make, iter(wanted), torch.device(device))


def _ahead(
    make: Callable[[Wanted], Made], wanted: Iterator[Wanted], device: torch.device
) -> Iterator[Made]:
    stream = torch.cuda.Stream(device) if device.type == "cuda" else None

    def work(one: Wanted) -> tuple[Made, torch.cuda.Event | None]:
        with torch.cuda.stream(stream):
            return make(one), stream.record_event() if stream else None

    with ThreadPoolExecutor(1, thread_name_prefix="ahead") as pool:
        waiting = deque(pool.submit(work, one) for one in islice(wanted, DEPTH))
        while waiting:
            made, copied = waiting.popleft().result()
            waiting.extend(pool.submit(work, one) for one in islice(wanted, 1))
            if copied is not None:
                _hand_over(made, copied, torch.cuda.current_stream(device))
            yield made


def _hand_over(made: Any, copied: torch.cuda.Event, to: torch.cuda.Stream) -> None:
    """Lets the caller's stream wait for the copies, and keeps their memory until it has done with it."""
    to.wait_event(copied)
    for tensor in tensors_of(made):
        if tensor.is_cuda:
            tensor.record_stream(to)
