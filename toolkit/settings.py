"""Settings that come from files: their shape is checked before the parser of the command line sees them.

That parser (jsonargparse) imports whatever module a file names as `class_path`, or as a text where keys and values
belong; a file of settings may be somebody else's, and must not have code imported.
"""

from collections.abc import Sequence
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any, get_args, get_type_hints

from toolkit.console.command_help import did_you_mean
from toolkit.errors import UserError

OPTION = "--config"


def split_files(words: Sequence[str]) -> tuple[list[str], list[str]]:
    """The files that a command line names with `--config`, in order, and its other words.

    The parser lets whatever comes later override what came before, so the files go first: what is typed overrides
    them wherever it stands.

    >>> split_files(["--epochs=5", "--config", "a.yaml", "--config=b.yaml"])
    (['a.yaml', 'b.yaml'], ['--epochs=5'])
    """
    files, others, rest = [], [], iter(words)
    for word in rest:
        option, equals, value = word.partition("=")
        if option != OPTION:
            others.append(word)
            continue
        file = value if equals else next(rest, None)
        if file is None:
            raise UserError(f"{OPTION}: expected the name of a file after it")
        files.append(file)
    return files, others


def refuse_other_shape(values: dict[str, Any], config: type, *, where: Path) -> None:
    """Makes sure that settings have no key but those of a dataclass, and keys and values where it has them.

    Args:
        values: as a file has them; a key may be written with dots.
        config: the dataclass.
        where: the file.

    Raises:
        UserError: naming the first key that is unknown, or holds something else.
    """
    _refuse(values, config, "", where)


def _refuse(values: Any, config: type, lead: str, where: Path) -> None:
    if not isinstance(values, dict):
        raise UserError(
            f"{where}: {lead.rstrip('.')}: expected keys and values, found {type(values).__name__} {str(values)[:60]!r}"
        )
    known = {key.name for key in fields(config)}
    kinds = get_type_hints(config)
    for key, value in values.items():
        name, dot, rest = str(key).partition(".")
        if name not in known:
            raise UserError(
                f"{where}: unknown key {(lead + name)[:80]!r}{did_you_mean(name, known)}"
            )
        inner = {rest: value} if dot else value
        if is_dataclass(kinds[name]):
            _refuse(inner, kinds[name], f"{lead}{name}.", where)
        elif one := dataclass_by_name(kinds[name]):
            for part, settings in inner.items() if isinstance(inner, dict) else ():
                _refuse(settings, one, f"{lead}{name}.{part}.", where)


def dataclass_by_name(kind: Any) -> type | None:
    """The dataclass of a `dict[str, dataclass]`; None for another type."""
    parts = get_args(kind)
    return parts[1] if len(parts) == 2 and is_dataclass(parts[1]) else None  # type: ignore[return-value]
