"""Validates arguments of the Python API as strictly as options of the command line."""

import operator
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, get_args

from toolkit.errors import UserError

_LARGEST_SEED = 2**53 - 1  # a run derives seeds of 64 bits from it


def whole_number(value: Any, *, name: str, least: int | None = 1) -> int:
    """An integer, including NumPy's integers.

    Raises:
        UserError: if the value is not an integer (3.0 and True are not), or is below `least`; None means no limit.
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


def refuse_below(least: Mapping[str, float], values: Mapping[str, Any], *, lead: str = "") -> None:
    """Refuses settings below their least value, and NaN. None is no value, and passes.

    Args:
        least: least value by setting.
        values: settings by name, such as `vars` of a dataclass; others than those of `least` are ignored.
        lead: section of the settings with a dot, for the message.

    Raises:
        UserError: naming the first such setting.

    >>> refuse_below({"epochs": 1}, {"epochs": 0}, lead="train.")
    Traceback (most recent call last):
    ...
    toolkit.errors.UserError: train.epochs is 0; it must be at least 1
    """
    for key, smallest in least.items():
        value = values[key]
        if value is not None and not value >= smallest:
            raise UserError(f"{lead}{key} is {value}; it must be at least {smallest}")


def refuse_no_seed(values: Mapping[str, Any], *names: str, lead: str = "") -> None:
    """Refuses seeds that a generator of NumPy or torch cannot take.

    Args:
        values: settings by name, such as `vars` of a dataclass.
        names: those that are seeds.
        lead: section of the settings with a dot, for the message.

    Raises:
        UserError: naming the first such setting.

    >>> refuse_no_seed({"seed": -1}, "seed", lead="train.")
    Traceback (most recent call last):
    ...
    toolkit.errors.UserError: train.seed is -1; it must be from 0 to 9007199254740991
    """
    for name in names:
        if not 0 <= values[name] <= _LARGEST_SEED:
            raise UserError(f"{lead}{name} is {values[name]}; it must be from 0 to {_LARGEST_SEED}")


def one_of(value: Any, known: Any, *, name: str) -> Any:
    """One of the values of a `Literal`.

    Raises:
        UserError: if the value is not one of them.
    """
    choices = get_args(known)
    if not isinstance(value, str) or value not in choices:
        raise UserError(f"{name} {value!r} is unknown; choose from {choices}")
    return value


def a_path(value: Any, *, name: str) -> Path:
    """A path from a string or a path object.

    Raises:
        UserError: if the value is neither, is empty, or contains a character that paths cannot have.
    """
    if not isinstance(value, str | os.PathLike) or not os.fspath(value):
        raise UserError(f"{name}: expected a path, got {value!r} ({type(value).__name__})")
    text = os.fspath(value)
    if not isinstance(text, str) or "\0" in text:
        raise UserError(f"{name}: {value!r} is not a valid path; remove the null character")
    return Path(text)


def refuse_one_file(files: Mapping[str, str | os.PathLike[str] | None]) -> None:
    """Refuses an output that is also an input or another output, and would overwrite it.

    Args:
        files: path by argument, such as `--output`; None for an argument that is not given. Links are followed.

    Raises:
        UserError: naming the two arguments.
    """
    known: dict[Path, str] = {}
    for name, file in files.items():
        if file is None:
            continue
        real = Path(os.path.realpath(file))
        if real in known:
            raise UserError(
                f"{known[real]} and {name} are both {os.fspath(file)}, so one would overwrite the other; choose another name"
            )
        known[real] = name


def refuse_twice(folders: Sequence[Path], *, noun: str) -> None:
    """Refuses a folder that is given twice, also through a link.

    Args:
        folders: paths.
        noun: what they are, such as `run`.

    Raises:
        UserError: naming the folder.
    """
    known: set[Path] = set()
    for folder in folders:
        real = folder.resolve()
        if real in known:
            raise UserError(f"{folder}: the {noun} is given twice; give each {noun} once")
        known.add(real)


def paths(values: Any, *, name: str) -> list[Path]:
    """A list of paths.

    Raises:
        UserError: if the value is a single path, or not a list of paths.
    """
    if isinstance(values, str | os.PathLike | bytes) or not isinstance(values, Iterable):
        raise UserError(f"{name}: expected a list of paths, got {values!r}; put it in a list")
    return [a_path(value, name=f"{name}, position {index}") for index, value in enumerate(values)]
