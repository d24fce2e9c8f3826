"""Progress: one line with the count, the rate, the failures and the time left.

On a terminal the line is redrawn in place; in a log file it is written again every ten seconds. Work of less than
two seconds prints nothing.
"""

import shutil
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Self, TextIO, TypeVar

T = TypeVar("T")
QUIET_SECONDS = 2.0
TERMINAL_SECONDS = 0.2  # between drawings
LOG_SECONDS = 10.0  # between lines that cannot be redrawn
_wanted: ContextVar[bool] = ContextVar("progress", default=True)


@contextmanager
def without_progress() -> Iterator[None]:
    """Turns off the progress lines that start in this block."""
    before = _wanted.set(False)
    try:
        yield
    finally:
        _wanted.reset(before)


def track(
    items: Iterable[T], description: str, *, total: int | None = None, enabled: bool = True
) -> Iterator[T]:
    """Yields `items`, with a progress line on stderr.

    Args:
        items: to iterate over.
        description: at the start of the line.
        total: how many, if `items` has no length.
        enabled: whether to draw; False in all processes but the main one.
    """
    known = total if total is not None else getattr(items, "__len__", lambda: None)()
    with Progress(description, total=known, enabled=enabled) as progress:
        for item in items:
            yield item
            progress.advance(1)


class Progress:
    """A progress line, drawn until the `with` block ends.

    Args:
        description: at the start of the line.
        total: how many items; None if unknown.
        unit: their name, in the plural.
        enabled: whether to draw.
        stream: to draw on; stderr by default.
        clock: returns the time in seconds.
    """

    def __init__(
        self,
        description: str,
        *,
        total: int | None,
        unit: str = "",
        enabled: bool = True,
        stream: TextIO | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.description = description
        self.total = total
        self.unit = unit
        self.enabled = enabled and _wanted.get()
        self.done = 0
        self.failed: Counter[str] = Counter()
        self._stream = stream or sys.stderr
        self._clock = clock
        self._terminal = self._stream.isatty()
        self._started = clock()
        self._next = self._started + QUIET_SECONDS
        self._width = 0  # of what stands on the terminal

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._terminal and self._width:  # the caller prints a summary
            self._stream.write("\r" + " " * self._width + "\r")
            self._stream.flush()

    @property
    def seconds(self) -> float:
        """Time since the start."""
        return self._clock() - self._started

    def advance(self, count: int, failed: Mapping[str, int] | None = None) -> None:
        """Counts items as done, and draws the line if it is due.

        Args:
            count: how many more.
            failed: how many of them failed, by class.
        """
        self.done += count
        self.failed.update(failed or {})
        now = self._clock()
        if self.enabled and now >= self._next:
            self._next = now + (TERMINAL_SECONDS if self._terminal else LOG_SECONDS)
            self._draw(now - self._started)

    def _draw(self, seconds: float) -> None:
        text = line(
            self.description,
            done=self.done,
            total=self.total,
            unit=self.unit,
            per_second=self.done / seconds if seconds else None,
            failed=self.failed,
        )
        if self._terminal:
            text = text[: shutil.get_terminal_size().columns - 1]
            self._stream.write("\r" + text.ljust(self._width))
            self._width = len(text)
        else:
            self._stream.write(text + "\n")
        self._stream.flush()


def line(
    description: str,
    *,
    done: int,
    total: int | None,
    unit: str,
    per_second: float | None,
    failed: Mapping[str, int],
) -> str:
    """The text of a progress line.

    >>> line("frames", done=1280, total=19738, unit="items", per_second=41.2, failed={"corrupt": 1})
    'frames: 1,280/19,738 items · 41.2/s · failed 1 corrupt · 7 min left'
    """
    count = f"{done:,}" if total is None else f"{done:,}/{total:,}"
    parts = [f"{count} {unit}".rstrip()]
    if per_second:
        parts.append(f"{per_second:,.1f}/s")
    if failed:
        worst_first = sorted(failed.items(), key=lambda pair: (-pair[1], pair[0]))
        parts.append("failed " + ", ".join(f"{number:,} {name}" for name, number in worst_first))
    if per_second and total is not None:
        parts.append(f"{duration((total - done) / per_second)} left")
    return f"{description}: " + " · ".join(parts)


def pace(done: int, seconds: float) -> str:
    """Duration and rate, as the end of a summary; empty if nothing was done.

    >>> pace(19738, 480.0)
    '; 8 min, 41.1 items/s'
    """
    return f"; {duration(seconds)}, {done / seconds:,.1f} items/s" if done and seconds else ""


def duration(seconds: float) -> str:
    """A duration as text, in its one or two largest units.

    >>> [duration(s) for s in (0.25, 42, 430, 9000, 200000)]
    ['0 s', '42 s', '7 min', '2 h 30 min', '2 d 7 h']
    """
    if seconds < 59.5:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    if minutes < 60:
        return f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    if hours < 24:
        return f"{hours} h {minutes} min"
    return f"{hours // 24} d {hours % 24} h"
