"""Colours, on a terminal whose user has not turned them off."""

import os
from typing import Literal, TextIO

Style = Literal["red", "yellow"]
_CODES: dict[Style, str] = {"red": "31", "yellow": "33"}


def painted(text: str, style: Style | None, stream: TextIO | None) -> str:
    """The text in a style, if it goes to a terminal; unchanged elsewhere.

    There are no colours on a terminal whose `TERM` is `dumb`, nor if `NO_COLOR` is set
    (https://no-color.org).
    """
    return f"\x1b[{_CODES[style]}m{text}\x1b[0m" if style and _has_colours(stream) else text


def _has_colours(stream: TextIO | None) -> bool:
    if os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb":
        return False
    return stream is not None and stream.isatty()
