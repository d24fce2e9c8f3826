"""Reads YAML settings safely, even from untrusted files; errors are one-line messages."""

from pathlib import Path
from typing import Any

import yaml

from toolkit.errors import UserError

_BYTES = 1 << 20  # settings have some kilobytes
_NODES = 100_000  # maximum number of values after expanding aliases


def read_yaml(path: Path) -> dict[str, Any]:
    """Reads a YAML file that contains a mapping; an empty file is an empty mapping.

    Aliases count as copies, so that a few lines cannot expand to billions of values.

    Raises:
        UserError: if the file does not exist, is too large, is not UTF-8, YAML or a mapping, repeats a key, or names a
            Python object.
    """
    try:
        if path.stat().st_size > _BYTES:
            raise UserError(
                f"{path}: larger than {_BYTES >> 20} MiB, expected a settings file; check the path"
            )
        text = path.read_text(encoding="utf-8-sig")
        value = _constructed(path, text)
    except FileNotFoundError:
        raise UserError(f"{path} does not exist; check the path") from None
    except UserError:
        raise
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise UserError(f"{path}: not valid YAML ({_in_one_line(error)})") from None
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise UserError(f"{path}: expected keys and values, found {type(value).__name__}")
    return value


def _constructed(path: Path, text: str) -> Any:
    """The value of a document, of which nothing is constructed if it is too large."""
    loader = yaml.SafeLoader(text)
    try:
        node = loader.get_single_node()
        size = _expanded(node, {})
        if size > _NODES:
            raise UserError(
                f"{path}: its aliases expand to more than {_NODES:,} values, expected a settings file; check the path"
            )
        _refuse_repeated_keys(node, path, set())
        return None if node is None else loader.construct_document(node)
    finally:
        loader.dispose()


def _expanded(node: yaml.Node | None, known: dict[int, int]) -> int:
    """The number of nodes in a node, with aliases expanded; `known` caches the counts by node.

    Raises:
        ValueError: if a node contains itself.
    """
    if not isinstance(node, yaml.CollectionNode):
        return 1
    if id(node) in known:
        if known[id(node)] == _OPEN:
            raise ValueError("an alias refers to a node that contains it")
        return known[id(node)]
    known[id(node)] = _OPEN
    parts = [part for pair in node.value for part in (pair if isinstance(pair, tuple) else (pair,))]
    known[id(node)] = 1 + sum(_expanded(part, known) for part in parts)
    return known[id(node)]


_OPEN = -1


def _refuse_repeated_keys(node: yaml.Node | None, path: Path, known: set[int]) -> None:
    """Refuses a mapping with a key twice, of which PyYAML would keep the last.

    Args:
        node: a document without circles.
        path: its file.
        known: ids of the nodes that were checked.

    Raises:
        UserError: naming the key and its line.
    """
    if not isinstance(node, yaml.CollectionNode) or id(node) in known:
        return
    known.add(id(node))
    keys: set[tuple[str, str]] = set()
    for part in node.value:
        key, value = part if isinstance(part, tuple) else (None, part)
        if isinstance(key, yaml.ScalarNode):
            if (key.tag, key.value) in keys:
                raise UserError(
                    f"{path}:{key.start_mark.line + 1}: repeats the key {key.value[:80]!r}, whose values would replace "
                    "those above; keep one of them, or rename it"
                )
            keys.add((key.tag, key.value))
        _refuse_repeated_keys(value, path, known)


def _in_one_line(error: Exception) -> str:
    return " ".join(str(error).split())
