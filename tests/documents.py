"""The code blocks of README.md and docs/, with the HTML comments before them.

`<!-- not run: REASON -->` before a block states why no test runs it. `<!-- file: PATH -->` makes the block a file, which
later commands read. Rendered pages do not show these comments.
"""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from textwrap import dedent
from typing import NamedTuple

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
LANGUAGES = {"bash", "python", "yaml", "json", "text"}
_MARK = re.compile(r"<!-- (not run|file): (.+?) -->")
_FENCE = re.compile(r" *```(?P<language>.*)")
_INLINE = re.compile(r"`((?:python -m|accelerate launch) [^`]+)`")


class Block(NamedTuple):
    """A fenced block.

    Args:
        page: it stands on.
        line: of its fence, from 1.
        language: the word after the fence.
        text: inside.
        mark: `file` or `not run`, where a comment before it says so, else empty.
        says: what that comment says.
    """

    page: Path
    line: int
    language: str
    text: str
    mark: str = ""
    says: str = ""

    @property
    def place(self) -> str:
        """Where to look for it."""
        return f"{self.page.relative_to(ROOT)}:{self.line}"


def blocks(page: Path) -> Iterator[Block]:
    """All fenced blocks of a page but those of directives, in order."""
    lines = page.read_text(encoding="utf-8").splitlines()
    opened: re.Match[str] | None = None
    start = 0
    for number, line in enumerate(lines):
        fence = _FENCE.fullmatch(line)
        if opened is None and fence:
            opened, start = fence, number
        elif opened is not None and line.strip() == "```":
            if not opened["language"].startswith("{"):
                mark = _MARK.fullmatch(lines[start - 1].strip()) if start else None
                text = dedent("\n".join(lines[start + 1 : number]))
                said = mark.groups() if mark else ()
                yield Block(page, start + 1, opened["language"], text, *said)
            opened = None
    assert opened is None, f"{page}: a fence is not closed"


def command_lines(text: str) -> list[list[str]]:
    """The commands of a block as words; comments left out, lines that end in a backslash joined."""
    lines = text.replace("\\\n", " ").splitlines()
    return [words for line in lines if (words := shlex.split(line, comments=True))]


def inline_commands(page: Path) -> list[list[str]]:
    """Commands that stand in a sentence."""
    text = re.sub(r"^ *```.*?^ *```$", "", page.read_text(encoding="utf-8"), flags=re.M | re.S)
    return [shlex.split(" ".join(found.split())) for found in _INLINE.findall(text)]
