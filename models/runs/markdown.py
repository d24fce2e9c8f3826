"""The little of Markdown that Versa writes: tables, and words that come from data and must not act as markup."""

import re
from collections.abc import Sequence

_ACTIVE = re.compile(r"([\\`*_\[\]<>~&#])")
_TICKS = re.compile(r"`+")


def plain(text: str) -> str:
    r"""Text that reads as it is: one line, its markup escaped.

    >>> plain("a *bold*\n<name>")
    'a \\*bold\\* \\<name\\>'
    """
    return _ACTIVE.sub(r"\\\1", " ".join(text.split()))


def code(text: str) -> str:
    """Text within backticks, more of them than it has in a row; one line.

    >>> code("a`b")
    '``a`b``'
    """
    line = " ".join(text.split())
    ticks = "`" * (_longest(line) + 1)
    space = " " if not line or line[0] == "`" or line[-1] == "`" else ""
    return f"{ticks}{space}{line}{space}{ticks}"


def fenced(text: str, language: str = "") -> str:
    """Text as a block of its own, line by line as it is."""
    fence = "`" * max(3, _longest(text) + 1)
    return f"{fence}{language}\n{text.rstrip()}\n{fence}"


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table; what stands in its cells is Markdown already, and may hold `|`."""
    lines = [_line(row) for row in (head, *rows)]
    lines.insert(1, "|---" * len(head) + "|")
    return "\n".join(lines)


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _longest(text: str) -> int:
    """The most backticks in a row."""
    return max(map(len, _TICKS.findall(text)), default=0)
