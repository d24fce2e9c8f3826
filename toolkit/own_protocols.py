"""Reads a protocol from its name, a user's YAML file, or the content of such a file, and refuses what it does not know."""

import re
import types
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints

from toolkit.console.command_help import did_you_mean
from toolkit.cuts import SPLITS
from toolkit.errors import UserError
from toolkit.protocols import Mask, Protocol, Ranked, Targets, is_named, named_protocol
from toolkit.yaml_files import read_yaml

ProtocolLike = Protocol | str | Path | Mapping[str, Any]
Setting = bool | int | float | str | None
# What a run's config contains. Without `Any`, for which the command-line parser would import what a file names.
ProtocolRecord = str | dict[str, Setting | dict[str, Setting]]
ENDINGS = (".yaml", ".yml")
_NAME = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")  # it becomes a part of file names
_SHOWN = 60  # characters of a value in a message
_DIMENSIONS: dict[str, dict[str, type]] = {  # by dimension, its classes by kind
    "split": dict(SPLITS),
    "mask": dict.fromkeys(get_args(get_type_hints(Mask)["kind"]), Mask),
    "catalogue": dict.fromkeys(get_args(get_type_hints(Ranked)["kind"]), Ranked),
    "targets": {"": Targets},
}


def as_protocol(value: ProtocolLike) -> Protocol:
    """A protocol from its name, the YAML file of a user's own, or the content of such a file.

    Args:
        value: a protocol, a name, a path that ends with .yaml, or keys and values.

    Raises:
        UserError: if the name is unknown, or a file or one of its keys or values is invalid.
    """
    if isinstance(value, Protocol):
        return value
    if isinstance(value, Mapping):
        return _own(value, where="protocol")
    if isinstance(value, Path) or (isinstance(value, str) and value.endswith(ENDINGS)):
        path = Path(value)
        return _own({"name": path.stem, **read_yaml(path)}, where=str(path))
    return named_protocol(value)


def _own(values: Mapping[str, Any], *, where: str) -> Protocol:
    """A user's own protocol.

    Raises:
        UserError: if a key is unknown, a value is invalid, or the name is that of a named protocol.
    """
    _refuse_unknown_keys(values, [key.name for key in fields(Protocol)], where=where)
    name = values.get("name")
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise UserError(
            f"{where}: name is {_shown(name)}; expected lower-case letters, digits and single hyphens, because it becomes "
            "part of file names"
        )
    if is_named(name):
        raise UserError(f"{where}: {name} is the name of a known protocol; choose another name")
    parts = {
        key: _dimension(values[key], kinds, where=where, key=key)
        for key, kinds in _DIMENSIONS.items()
        if key in values
    }
    return Protocol(name, **parts)


def _dimension(part: Any, kinds: Mapping[str, type], *, where: str, key: str) -> Any:
    """The value of a dimension: a name is short for a kind without further settings."""
    settings = {"kind": part} if isinstance(part, str) else part
    if not isinstance(settings, Mapping):
        raise UserError(f"{where}: {key} is {_shown(part)}; expected keys and values")
    kind = settings.get("kind", next(iter(kinds)))
    if not isinstance(kind, str) or kind not in kinds:
        expected = " or ".join(kinds) if all(kinds) else "keys and values"
        raise UserError(f"{where}: {key} is {_shown(kind)}; expected {expected}")
    made = kinds[kind]
    hints = {f.name: get_type_hints(made)[f.name] for f in fields(made)}
    _refuse_unknown_keys(settings, list(hints), where=where, lead=f"{key}.")
    for name, value in settings.items():
        if not _fits(value, hints[name]):
            raise UserError(
                f"{where}: {key}.{name} is {_shown(value)}; expected {_described(hints[name])}"
            )
    try:
        return made(**settings)
    except UserError as error:
        raise UserError(f"{where}: {error}") from None


def _refuse_unknown_keys(
    values: Mapping[str, Any], known: list[str], *, where: str, lead: str = ""
) -> None:
    for key in values:
        if key not in known:
            near = did_you_mean(str(key), known)
            raise UserError(
                f"{where}: unknown key {_shown(f'{lead}{key}')}{near}; known: {', '.join(known)}"
            )


def _fits(value: Any, hint: Any) -> bool:
    """Whether a value has a type. A whole number is a `float` too; True is no number."""
    if get_origin(hint) is Literal:
        return isinstance(value, str) and value in get_args(hint)
    if get_origin(hint) is types.UnionType:
        return any(_fits(value, part) for part in get_args(hint))
    if hint is float:
        return isinstance(value, int | float) and not isinstance(value, bool)
    return type(value) is hint


def _described(hint: Any) -> str:
    if get_origin(hint) is Literal:
        return " or ".join(get_args(hint))
    if get_origin(hint) is types.UnionType:
        return " or ".join(map(_described, get_args(hint)))
    names = {float: "a number", int: "a whole number", bool: "true or false", type(None): "null"}
    return names[hint]


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"
