"""Progress bars: on a terminal and in a log alike, silent when the work is over within two seconds."""

from collections.abc import Iterable, Iterator
from typing import TypeVar

from tqdm import tqdm

T = TypeVar("T")


def track(
    items: Iterable[T], description: str, *, total: int | None = None, enabled: bool = True
) -> Iterator[T]:
    """Yields `items`, drawing a bar on stderr once two seconds have gone by."""
    yield from tqdm(
        items, desc=description, total=total, delay=2, disable=not enabled, dynamic_ncols=True
    )
