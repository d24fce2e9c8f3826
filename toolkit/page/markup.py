"""Values as HTML: what a table's cells show, and the few values that are markup already.

Everything else is escaped where a template prints it (`toolkit.page.rendering`).
"""

import base64
import json
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Protocol, TypeAlias

from markupsafe import Markup

ABSENT = Markup("–")


class Code(NamedTuple):
    """An id or a hash, in letters of equal width."""

    text: str | int | None

    def __html__(self) -> Markup:
        return ABSENT if self.text is None else Markup("<code>{}</code>").format(self.text)


class Percent(NamedTuple):
    """A part of a whole, shown in percent."""

    part: float
    whole: float

    @classmethod
    def of(cls, share: float | None) -> "Percent | None":
        """A share that is known already; None of None."""
        return None if share is None else cls(share, 1)

    def __html__(self) -> Markup:
        return Markup(f"{100 * self.part / self.whole:.1f} %") if self.whole else ABSENT


class Interval(NamedTuple):
    """A share with its interval, shown in percent."""

    value: float
    low: float
    high: float

    def __html__(self) -> Markup:
        ends = f"[{100 * self.low:.2f}, {100 * self.high:.2f}]"
        return Markup(f'{100 * self.value:.2f} <span class="soft">{ends}</span>')


class HasHtml(Protocol):
    """Any other cell that knows its markup."""

    def __html__(self) -> Markup: ...


Cell: TypeAlias = str | int | float | HasHtml | None


class Table(NamedTuple):
    """A table of a page; a column whose values are all numbers is set flush right.

    Args:
        headers: of the columns; None leaves them out.
        rows: of the table; without any, nothing is shown.
        row_heads: whether the first cell of each row is its heading.
    """

    headers: Sequence[str] | None
    rows: Sequence[Sequence[Cell]]
    row_heads: bool = False

    @property
    def right(self) -> list[bool]:
        """For each column, whether it is set flush right."""
        return [all(map(_is_number, column)) for column in zip(*self.rows, strict=True)]


def cell(value: Cell) -> Any:
    """A value as a cell shows it, before it is escaped: numbers with separators, a dash for None."""
    if value is None:
        return ABSENT
    if isinstance(value, float):
        return f"{value:,.2f}"
    return f"{value:,}" if isinstance(value, int) else value


def jpeg_address(jpeg: bytes) -> str:
    """A picture's bytes as the address of an image, so that it is part of the page."""
    return f"data:image/jpeg;base64,{base64.b64encode(jpeg).decode()}"


def on_a_line(values: Mapping[str, Any]) -> str:
    """Keys and values of a configuration on a line."""
    return "; ".join(
        f"{key} {value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)}"
        for key, value in values.items()
    )


def date(time: str | None) -> str | None:
    """A time in UTC as it is easiest to read."""
    return time and time.replace("T", " ").removesuffix("Z")


def _is_number(value: Cell) -> bool:
    return value is None or isinstance(value, int | float | Percent | Interval)
