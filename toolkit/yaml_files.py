"""YAML files of settings: read safely, whoever wrote them, and refused in one line."""

from pathlib import Path
from typing import Any

import yaml

from toolkit.errors import UserError

_BYTES = 1 << 20  # settings are some kilobytes
_NODES = 100_000  # once every alias stands for a copy of what it names


def read_yaml(path: Path) -> dict[str, Any]:
    """Reads a YAML file that holds a mapping; an empty file is an empty mapping.

    Aliases count as copies of what they name, so that a few lines cannot stand for billions of values.

    Raises:
        UserError: if the file is absent, too large, no UTF-8, no YAML or no mapping, or names a Python object.
    """
    try:
        if path.stat().st_size > _BYTES:
            raise UserError(f"{path}: more than {_BYTES >> 20} MiB; this is no file of settings")
        text = path.read_text(encoding="utf-8-sig")
        _refuse_expansion(path, text)
        value = yaml.safe_load(text)
    except FileNotFoundError:
        raise UserError(f"{path} does not exist; is this the right path?") from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise UserError(f"{path}: not valid YAML ({_in_one_line(error)})") from None
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise UserError(f"{path}: expected keys and values, found {type(value).__name__}")
    return value


def _refuse_expansion(path: Path, text: str) -> None:
    size = _expanded(yaml.compose(text, Loader=yaml.SafeLoader), {})
    if size > _NODES:
        raise UserError(
            f"{path}: its aliases stand for more than {_NODES:,} values; this is no file of settings"
        )


def _expanded(node: yaml.Node | None, known: dict[int, int]) -> int:
    """How many nodes a node holds, an alias counted as often as it is used; `known` holds those counted already.

    Raises:
        ValueError: if a node holds itself.
    """
    if not isinstance(node, yaml.CollectionNode):
        return 1
    if id(node) in known:
        if known[id(node)] == _OPEN:
            raise ValueError("an alias names what it stands in")
        return known[id(node)]
    known[id(node)] = _OPEN
    parts = [part for pair in node.value for part in (pair if isinstance(pair, tuple) else (pair,))]
    known[id(node)] = 1 + sum(_expanded(part, known) for part in parts)
    return known[id(node)]


_OPEN = -1


def _in_one_line(error: Exception) -> str:
    return " ".join(str(error).split())
