"""Arguments of the Python API, checked as those of the command line are."""

import operator
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any, get_args

from toolkit.errors import UserError


def whole_number(value: Any, *, name: str, least: int | None = 1) -> int:
    """A whole number, NumPy's included.

    Raises:
        UserError: if it is no whole number (3.0 and True are none), or below `least`; None is any.
    """
    try:
        if isinstance(value, bool):
            raise TypeError
        number = operator.index(value)
    except TypeError:
        raise UserError(
            f"{name} must be a whole number, got {value!r} ({type(value).__name__})"
        ) from None
    if least is not None and number < least:
        raise UserError(f"{name} must be at least {least}, got {number}")
    return number


def one_of(value: Any, known: Any, *, name: str) -> Any:
    """One of the words of a `Literal`.

    Raises:
        UserError: if it is another.
    """
    words = get_args(known)
    if not isinstance(value, str) or value not in words:
        raise UserError(f"{name} {value!r} is unknown; choose from {words}")
    return value


def a_path(value: Any, *, name: str) -> Path:
    """A path, given as text or as a path.

    Raises:
        UserError: if it is neither, is empty, or holds a character that no path has.
    """
    if not isinstance(value, str | os.PathLike) or not os.fspath(value):
        raise UserError(f"{name}: expected a path, got {value!r} ({type(value).__name__})")
    text = os.fspath(value)
    if not isinstance(text, str) or "\0" in text:
        raise UserError(f"{name}: {value!r} is no path")
    return Path(text)


def paths(values: Any, *, name: str) -> list[Path]:
    """Several paths.

    Raises:
        UserError: if this is one path, or no list of paths.
    """
    if isinstance(values, str | os.PathLike | bytes) or not isinstance(values, Iterable):
        raise UserError(f"{name}: expected a list of paths, got {values!r}; put it in a list")
    return [a_path(value, name=f"{name}, position {place}") for place, value in enumerate(values)]
