"""Small pieces of HTML. Every text that is not `Html` already is escaped here, and nowhere else."""

import base64
import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any, NamedTuple, TypeAlias

from toolkit.page.style import CSS


class Html(str):
    """Text that is HTML already: nothing in it is to be escaped any more."""

    __slots__ = ()


class Code(NamedTuple):
    """An id or a hash, set in letters of equal width."""

    text: str | int | None


class Percent(NamedTuple):
    """A part of a whole, shown in percent."""

    part: float
    whole: float

    @classmethod
    def of(cls, share: float | None) -> "Percent | None":
        """A share that is known already; None of None."""
        return None if share is None else cls(share, 1)


class Interval(NamedTuple):
    """A share with its interval, shown in percent."""

    value: float
    low: float
    high: float


Cell: TypeAlias = Html | str | int | float | Code | Percent | Interval | None


def text(value: object) -> Html:
    """Any value as text in HTML, quotes included."""
    return Html(escape(str(value)))


def document(title: str, parts: Iterable[Html], *, css: str = "", script: str = "") -> str:
    """A whole page that needs nothing else: no network, and no script but the one given.

    Args:
        title: of the window.
        parts: what stands on it; empty ones are left out.
        css: the look of what this page alone has.
        script: JavaScript that runs when the page is there. The browser is told to run no other, and to
            load nothing, whatever titles and captions hold.
    """
    body = "\n".join(part for part in parts if part)
    end = f"\n<script>{script}</script>" if script else ""
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'{_policy(script)}<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{text(title)}</title>\n<style>\n{CSS}{css}</style>\n</head>\n<body>\n"
        f"{body}{end}\n</body>\n</html>\n"
    )


def _policy(script: str) -> str:
    """A content security policy: styles and pictures of the page itself, no network, and no script but one by its
    hash; forms and a base for links are not allowed either.
    """
    allowed = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"
    if script:
        digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
        allowed += f"; script-src 'sha256-{digest}'"
    # In capitals, which HTML does not mind: "http" in a page is then an address, and there is none.
    return f'<meta HTTP-EQUIV="Content-Security-Policy" content="{allowed}">\n'


def header(over: str, heading: str, values: Mapping[str, int]) -> Html:
    """What a page is, of what, and its counts in large."""
    counts = numbers({name: f"{count:,}" for name, count in values.items()})
    return Html(
        f'<header>\n<p class="over">{text(over)}</p>\n<h1>{text(heading)}</h1>\n{counts}\n</header>'
    )


def words(values: Mapping[str, Any]) -> str:
    """Keys and values of a configuration in a line."""
    return "; ".join(
        f"{key} {value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)}"
        for key, value in values.items()
    )


def picture(jpeg: bytes, alternative: str) -> Html:
    """An image that is part of the page.

    Args:
        jpeg: its bytes.
        alternative: what it is, for those who do not see it.
    """
    data = base64.b64encode(jpeg).decode()
    return Html(f'<img src="data:image/jpeg;base64,{data}" alt="{text(alternative)}">')


def date(time: str | None) -> str | None:
    """A time in UTC as it is easiest to read."""
    return time and time.replace("T", " ").removesuffix("Z")


def section(heading: str, *parts: Html, anchor: str = "") -> Html:
    """A heading and what stands under it.

    Args:
        heading: of the section.
        parts: what stands under it; empty ones are left out.
        anchor: what a link to the section names, if there are any.
    """
    body = "\n".join(part for part in parts if part)
    named = f' id="{text(anchor)}"' if anchor else ""
    return Html(f"<section{named}>\n<h2>{text(heading)}</h2>\n{body}\n</section>")


def numbers(values: Mapping[str, str]) -> Html:
    """A row of large numbers, each over its name."""
    pairs = "".join(
        f"<div><dt>{text(name)}</dt><dd>{text(value)}</dd></div>" for name, value in values.items()
    )
    return Html(f'<dl class="numbers">{pairs}</dl>')


def details(summary: str, body: Html, *, count: int | None = None) -> Html:
    """A line that opens to show more.

    Args:
        summary: the line.
        body: what opens; without any, it says that there is none.
        count: how many the body shows, set flush right, before the text so that it stays on the first line.
    """
    counted = "" if count is None else f'<span class="count">{count:,}</span>'
    shown = body or '<p class="soft">None.</p>'
    return Html(f"<details>\n<summary>{counted}{text(summary)}</summary>\n{shown}\n</details>")


def table(
    headers: Sequence[str] | None, rows: Sequence[Sequence[Cell]], *, row_heads: bool = False
) -> Html:
    """A table that scrolls by itself where it is too wide; nothing without rows.

    A column whose values are all numbers is set flush right.

    Args:
        headers: of the columns; None leaves them out.
        rows: of the table.
        row_heads: whether the first cell of a row says what the row is about.
    """
    if not rows:
        return Html("")
    right = [all(_is_number(row[place]) for row in rows) for place in range(len(rows[0]))]
    head = ""
    if headers:
        cells = "".join(_cell(_COLUMN, text(h), r) for h, r in zip(headers, right, strict=True))
        head = f"<thead><tr>{cells}</tr></thead>\n"
    tags = [_ROW if row_heads and place == 0 else "td" for place in range(len(right))]
    lines = "\n".join(
        "<tr>" + "".join(map(_cell, tags, map(_shown, row), right)) + "</tr>" for row in rows
    )
    return Html(f'<div class="wide"><table>\n{head}<tbody>\n{lines}\n</tbody></table></div>')


_COLUMN, _ROW = 'th scope="col"', 'th scope="row"'


def _cell(tag: str, body: Html, right: bool) -> str:
    kind = ' class="right"' if right else ""
    return f"<{tag}{kind}>{body}</{tag.split()[0]}>"


def _is_number(value: Cell) -> bool:
    return value is None or isinstance(value, int | float | Percent | Interval)


def _shown(value: Cell) -> Html:
    if value is None:
        return Html("–")
    if isinstance(value, Html):
        return value
    if isinstance(value, Code):
        return Html("–" if value.text is None else f"<code>{text(value.text)}</code>")
    if isinstance(value, Percent):
        return Html(f"{100 * value.part / value.whole:.1f} %" if value.whole else "–")
    if isinstance(value, Interval):
        ends = f"[{100 * value.low:.2f}, {100 * value.high:.2f}]"
        return Html(f'{100 * value.value:.2f} <span class="soft">{ends}</span>')
    if isinstance(value, float):
        return Html(f"{value:,.2f}")
    return Html(f"{value:,}") if isinstance(value, int) else text(value)
