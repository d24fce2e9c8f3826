"""The result of every reader: the dump's own ids, each with its line number."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from prep.readers.text import not_utf8, refuse_other_text
from prep.steps.problems import Problem
from toolkit.errors import UserError

# Schema of a batch of interactions, as read from a file.
INTERACTIONS = pa.schema(
    [
        pa.field("user_id", pa.string(), nullable=False),
        pa.field("item_id", pa.string()),  # null if the user has no items
        pa.field("timestamp_ms", pa.int64()),  # null if unknown
        pa.field("line", pa.int64(), nullable=False),
    ]
)


@dataclass(frozen=True)
class Raw:
    """A dump as read: nothing is numbered or dropped yet.

    Args:
        items: columns item_id, title (all null if the dump has no titles), line, and the columns of
            `toolkit.schema.ITEM_EXTRAS` that the dump has.
        interactions: iterator of `INTERACTIONS` batches, which can be read once, in the file's order. This is the
            order of each user's interactions if there are no timestamps.
        items_file: name of the file that `items.line` refers to; lines count from 1.
        interactions_file: the same for `interactions.line`.
        problems: problems with lines that the reader left out.
        items_as_they_come: whether items have no file of their own and follow the order of the interactions.
        a_line_a_user: whether each line of the interactions holds a complete user, so that further lines of the
            same user are reported.
    """

    items: pa.Table
    interactions: Iterable[pa.RecordBatch]
    items_file: str
    interactions_file: str
    problems: tuple[Problem, ...] = ()
    a_line_a_user: bool = False
    items_as_they_come: bool = False


@dataclass(frozen=True)
class Reader:
    """Reader of one layout.

    Args:
        find: returns the dump's files by role; empty if the dump has another layout.
        read: reads these files.
        wants: description of the layout's files, for messages.
        auto: whether layout `auto` may choose this layout, because its files identify it.
        settings: the keys of `prep.config.PrepConfig` that the reader uses, with their values. `dataset.json`
            records them, and they must not change on a rerun.
    """

    find: Callable[[Path], dict[str, Path]]
    read: Callable[[dict[str, Path]], Raw]
    wants: str
    auto: bool = True
    settings: dict[str, Any] = field(default_factory=dict)


def parts(path: Path) -> list[Path]:
    """The files of one table: the file itself, or the Parquet files of a folder, sorted by name."""
    return sorted(path.glob("*.parquet")) if path.is_dir() else [path]


def text_of(path: Path) -> str:
    """The text of a UTF-8 file, without a byte order mark.

    Raises:
        UserError: if the file is empty or not UTF-8, with the line.
    """
    refuse_other_text(path)
    data = path.read_bytes()
    if not data.strip():
        raise UserError(f"{path}: the file is empty; download it again")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise not_utf8(path, line, data[error.start]) from None


def tab_pairs(path: Path, expected: str, *, header: bool = False) -> pa.Table:
    """A file of `key<TAB>value` lines as columns key, value, line (from 1).

    Args:
        path: the file.
        expected: expected form of a line, for messages.
        header: whether the first line is a header.

    Raises:
        UserError: if a line has another form.
    """
    lines = pa.array(text_of(path).split("\n"), pa.large_string())
    lines = pc.utf8_rtrim(lines, characters="\r\n")
    numbers = pa.array(range(1, len(lines) + 1), pa.int64())
    filled = pc.not_equal(pc.utf8_trim_whitespace(lines), "")
    if header:
        filled = pc.and_(filled, pc.greater(numbers, pc.min(numbers.filter(filled))))
    lines, numbers = lines.filter(filled), numbers.filter(filled)
    parts = pc.split_pattern(lines, "\t", max_splits=1)
    whole = pc.equal(pc.list_value_length(parts), 2)
    if not pc.all(whole).as_py():
        first = pc.index(whole, False).as_py()
        raise UserError(
            f"{path}:{numbers[first]}: expected {expected}, found {lines[first].as_py()[:60]!r}; "
            "fix the line or delete it"
        )
    return pa.table(
        {"key": pc.list_element(parts, 0), "value": pc.list_element(parts, 1), "line": numbers}
    )
