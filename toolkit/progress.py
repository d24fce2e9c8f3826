"""Progress bars, on a terminal and in a log alike; silent when the work is over in two seconds."""

import sys
from collections.abc import Iterable, Iterator
from typing import TypeVar

from tqdm import tqdm

T = TypeVar("T")
LOG_SECONDS = 10.0  # between lines where stderr is a file, and bars cannot overwrite themselves


def track(
    items: Iterable[T], description: str, *, total: int | None = None, enabled: bool = True
) -> Iterator[T]:
    """Yields `items`, drawing a bar on stderr once two seconds have gone by.

    Args:
        items: what to go through.
        description: before the bar.
        total: how many, where `items` has no length.
        enabled: whether to draw; all processes but the main one say no.
    """
    terminal = sys.stderr.isatty()
    bar = tqdm(
        items,
        desc=description,
        total=total,
        delay=2,
        disable=not enabled,
        dynamic_ncols=terminal,
        leave=not terminal,
        mininterval=0.2 if terminal else LOG_SECONDS,
        maxinterval=LOG_SECONDS,
    )
    yield from bar
