"""Writes Markdown: tables, and text from data, escaped so that it does not act as markup."""

import re
from collections.abc import Sequence

_ACTIVE = re.compile(r"([\\`*_\[\]<>~&#])")
_TICKS = re.compile(r"`+")


def plain(text: str) -> str:
    r"""Text in one line with escaped markup.

    >>> plain("a *bold*\n<name>")
    'a \\*bold\\* \\<name\\>'
    """
    return _ACTIVE.sub(r"\\\1", " ".join(text.split()))


def code(text: str) -> str:
    """Text in one line as a code span, between more backticks than it contains in a row.

    >>> code("a`b")
    '``a`b``'
    """
    line = " ".join(text.split())
    ticks = "`" * (_longest(line) + 1)
    space = " " if not line or line[0] == "`" or line[-1] == "`" else ""
    return f"{ticks}{space}{line}{space}{ticks}"


def fenced(text: str, language: str = "") -> str:
    """Text as a fenced code block, unchanged."""
    fence = "`" * max(3, _longest(text) + 1)
    return f"{fence}{language}\n{text.rstrip()}\n{fence}"


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table. Its cells are Markdown; `|` in them is escaped."""
    lines = [_line(row) for row in (head, *rows)]
    lines.insert(1, "|---" * len(head) + "|")
    return "\n".join(lines)


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _longest(text: str) -> int:
    """The length of the longest run of backticks."""
    return max(map(len, _TICKS.findall(text)), default=0)
