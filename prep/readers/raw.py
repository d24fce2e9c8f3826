"""What every reader gives: the dump's own ids, each with the line it came from."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from prep.problems import Problem
from toolkit.errors import UserError


@dataclass(frozen=True)
class Raw:
    """A dump as it was read: nothing numbered, nothing dropped yet.

    Args:
        items: item_id, title (null throughout if the dump has none), line and what
            `toolkit.schema.ITEM_EXTRAS` the dump has.
        interactions: user_id, item_id, timestamp_ms (null where unknown), line, in the file's
            order, which is each user's order wherever timestamps do not say otherwise.
        items_file: name of the file that `items.line` counts in, from 1.
        interactions_file: the same for `interactions.line`.
        problems: what the reader left out.
    """

    items: pa.Table
    interactions: pa.Table
    items_file: str
    interactions_file: str
    problems: tuple[Problem, ...] = ()


@dataclass(frozen=True)
class Reader:
    """One layout.

    Args:
        find: the dump's files by role; empty if it is of another layout.
        read: what is in those files.
        wants: the files of the layout, for messages.
        auto: whether its files tell it from every other layout, so that `auto` may choose it.
        settings: the keys of `prep.config.PrepConfig` that it reads, with their values; recorded
            in `dataset.json`, and not to be changed on a rerun.
    """

    find: Callable[[Path], dict[str, Path]]
    read: Callable[[dict[str, Path]], Raw]
    wants: str
    auto: bool = True
    settings: dict[str, Any] = field(default_factory=dict)


def one_file(dump: Path, pattern: str) -> Path | None:
    """The file in `dump` that matches `pattern`, or None.

    Raises:
        UserError: if several match.
    """
    found = sorted(path for path in dump.glob(pattern) if path.is_file())
    if len(found) > 1:
        names = ", ".join(path.name for path in found)
        raise UserError(f"{dump}: several files match {pattern} ({names}); keep the one you mean")
    return found[0] if found else None


def text_of(path: Path) -> str:
    """A UTF-8 text file, without a byte order mark.

    Raises:
        UserError: if it is empty or not UTF-8, naming the line.
    """
    data = path.read_bytes()
    if not data.strip():
        raise UserError(f"{path}: the file is empty; download it again")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise UserError(
            f"{path}:{line}: not UTF-8 (byte {data[error.start]:#04x}); convert the file to UTF-8"
        ) from None


def tab_pairs(path: Path, expected: str) -> pa.Table:
    """A headless file of `key<TAB>value` lines as columns key, value, line (from 1).

    Args:
        path: the file.
        expected: what a line should look like, for messages.

    Raises:
        UserError: if a line is not of that form.
    """
    lines = pa.array(text_of(path).split("\n"), pa.large_string())
    lines = pc.utf8_rtrim(lines, characters="\r\n")
    numbers = pa.array(range(1, len(lines) + 1), pa.int64())
    filled = pc.not_equal(pc.utf8_trim_whitespace(lines), "")
    lines, numbers = lines.filter(filled), numbers.filter(filled)
    parts = pc.split_pattern(lines, "\t", max_splits=1)
    whole = pc.equal(pc.list_value_length(parts), 2)
    if not pc.all(whole).as_py():
        first = pc.index(whole, False).as_py()
        raise UserError(
            f"{path}:{numbers[first]}: expected {expected}, found {lines[first].as_py()[:60]!r}; "
            "mend the line or delete it"
        )
    return pa.table(
        {"key": pc.list_element(parts, 0), "value": pc.list_element(parts, 1), "line": numbers}
    )


def sequences(path: Path) -> tuple[pa.Table, list[Problem]]:
    """A headless file of `user<TAB>items split by spaces`, as one row an interaction.

    Raises:
        UserError: as `tab_pairs` does.
    """
    lines = tab_pairs(path, "a user, a tab and items split by spaces")
    items = pc.utf8_split_whitespace(pc.utf8_trim_whitespace(lines.column("value")))
    items = items.combine_chunks()
    owner = pc.list_parent_indices(items)
    table = pa.table(
        {
            "user_id": lines.column("key").take(owner).cast(pa.string()),
            "item_id": pc.list_flatten(items).cast(pa.string()),
            "timestamp_ms": pa.nulls(len(owner), pa.int64()),
            "line": lines.column("line").take(owner),
        }
    )
    return table.filter(pc.not_equal(table.column("item_id"), "")), _repeated_users(path, lines)


def _repeated_users(path: Path, lines: pa.Table) -> list[Problem]:
    users = lines.column("key").to_pylist()
    seen: set[str] = set()
    problems = []
    for user, line in zip(users, lines.column("line").to_pylist(), strict=True):
        if user in seen:
            message = (
                f"{path.name}:{line}: user {user!r} has an earlier line; its items come after those"
            )
            problems.append(Problem(None, "duplicate_id", message))
        seen.add(user)
    return problems
