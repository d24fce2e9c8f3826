"""Checks the shape of settings from files before the command-line parser reads them.

The parser (jsonargparse) imports any module that a file names in `class_path`, or in a string where keys and values are
expected. A settings file may come from somebody else and must not cause imports.
"""

from collections.abc import Callable, Sequence
from dataclasses import Field, fields, is_dataclass
from pathlib import Path
from typing import Any, get_args, get_type_hints

from toolkit.console.command_help import did_you_mean
from toolkit.console.printable import printable
from toolkit.errors import UserError

OPTION = "--config"
SHOWN = 200  # maximum characters of a key or value in a message
Keep = Callable[[str, "Field[Any]", Any], bool]


def split_files(words: Sequence[str]) -> tuple[list[str], list[str]]:
    """Splits a command line into the `--config` files, in order, and the other arguments.

    In the parser later arguments override earlier ones. With the files first, options override files regardless of
    their order.

    >>> split_files(["--epochs=5", "--config", "a.yaml", "--config=b.yaml"])
    (['a.yaml', 'b.yaml'], ['--epochs=5'])
    """
    files, others, rest = [], [], iter(words)
    for argument in rest:
        option, equals, value = argument.partition("=")
        if option != OPTION:
            others.append(argument)
            continue
        file = value if equals else next(rest, None)
        if file is None:
            raise UserError(f"{OPTION}: expected the name of a file after the option")
        files.append(file)
    return files, others


def refuse_other_shape(values: dict[str, Any], config: type, *, where: Path) -> None:
    """Refuses settings with an unknown key, or with anything but keys and values where a dataclass is expected.

    Args:
        values: settings from a file; keys can be nested or written with dots.
        config: the dataclass.
        where: path of the file.

    Raises:
        UserError: for the first key that is unknown or has a value of the wrong shape.
    """
    selected(values, config, lambda key, field, value: True, where=where, dotted=True)


def selected(
    values: Any,
    config: type,
    keep: Keep,
    *,
    where: Path,
    dotted: bool = False,
    lead: str = "",
) -> dict[str, Any]:
    """The settings of a dataclass and its nested dataclasses that `keep` accepts.

    Args:
        values: settings from a file.
        config: the dataclass.
        keep: whether to keep a value; its arguments are the key with dots, the field and the value.
        where: path of the file.
        dotted: whether keys can be written with dots (`part.size: 1`).
        lead: key of `values`, with dots; empty at the top.

    Raises:
        UserError: for the first key that is unknown or has a value of the wrong shape.
    """
    known = {key.name: key for key in fields(config)}
    kinds = get_type_hints(config)
    kept: dict[str, Any] = {}
    for key, value in _keys_and_values(values, lead, where):
        name, dot, rest = key.partition(".") if dotted else (key, "", "")
        path, inner = f"{lead}.{name}" if lead else name, {rest: value} if dot else value
        if name not in known:
            near = did_you_mean(name, known)
            raise UserError(f"{where}: unknown key {_shortened(path)!r}{near}")
        if is_dataclass(kinds[name]):
            more = selected(inner, kinds[name], keep, where=where, dotted=dotted, lead=path)
            kept[name] = kept.get(name, {}) | more
        elif named := dataclass_by_name(kinds[name]):
            more = {
                part: selected(
                    settings, named, keep, where=where, dotted=dotted, lead=f"{path}.{part}"
                )
                for part, settings in _keys_and_values(inner, path, where)
            }
            kept[name] = kept.get(name, {}) | more
        elif keep(path, known[name], value):
            kept[name] = value
    return kept


def _keys_and_values(values: Any, lead: str, where: Path) -> list[tuple[str, Any]]:
    if isinstance(values, dict):
        return [(str(key), value) for key, value in values.items()]
    under = f"{printable(_shortened(lead))}: " if lead else ""
    raise UserError(
        f"{where}: {under}expected keys and values, found {type(values).__name__} {_shortened(str(values))!r}"
    )


def _shortened(text: str) -> str:
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}…"


def dataclass_by_name(kind: Any) -> type | None:
    """The dataclass of a `dict[str, dataclass]`; None for another type."""
    parts = get_args(kind)
    return parts[1] if len(parts) == 2 and is_dataclass(parts[1]) else None  # type: ignore[return-value]
