"""What every reader gives: the dump's own ids, each with the line it came from."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from prep.readers.text import not_utf8, refuse_other_text
from prep.steps.problems import Problem
from toolkit.errors import UserError

# One batch of interactions as a file has them.
INTERACTIONS = pa.schema(
    [
        pa.field("user_id", pa.string(), nullable=False),
        pa.field("item_id", pa.string()),  # null where a user has no item at all
        pa.field("timestamp_ms", pa.int64()),  # null where unknown
        pa.field("line", pa.int64(), nullable=False),
    ]
)


@dataclass(frozen=True)
class Raw:
    """A dump as it was read: nothing numbered, nothing dropped yet.

    Args:
        items: item_id, title (null throughout if the dump has none), line and what
            `toolkit.schema.ITEM_EXTRAS` the dump has.
        interactions: batches of `INTERACTIONS`, read as they are asked for, and once; in the file's
            order, which is each user's order wherever timestamps do not say otherwise.
        items_file: name of the file that `items.line` counts in, from 1.
        interactions_file: the same for `interactions.line`.
        problems: what the reader left out.
        items_as_they_come: whether items stand in the order of the interactions, and in no file of their own.
        a_line_a_user: whether a line of the interactions holds all of a user, so that another line
            of the same user is worth telling.
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


def parts(path: Path) -> list[Path]:
    """The files of one table: itself, or, of a folder, its Parquet files in the order of their names."""
    return sorted(path.glob("*.parquet")) if path.is_dir() else [path]


def text_of(path: Path) -> str:
    """A UTF-8 text file, without a byte order mark.

    Raises:
        UserError: if it is empty or not UTF-8, naming the line.
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
        expected: what a line should look like, for messages.
        header: whether the first line names the columns.

    Raises:
        UserError: if a line is not of that form.
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
            "mend the line or delete it"
        )
    return pa.table(
        {"key": pc.list_element(parts, 0), "value": pc.list_element(parts, 1), "line": numbers}
    )
