"""The 1M release of MicroLens for the MM-CTR challenge: Parquet files with anonymised numbers.

`item_feature.parquet` (or `item_info.parquet`, which has no titles): item_id, item_title, item_tags
(numbers, padded with 0), likes_level and views_level (0 to 10, no counts), and vectors, which
`prep.towers.imported` can import. `item_seq.parquet`: user_id and item_seq, a user's items in order, padded
with 0; several rows a user. Item 0 is padding. `train|valid|test.parquet` hold impressions with a
label, drawn for click prediction, and are not read: they are no history.

The columns are those that public solutions of the challenge read; its own description is a picture.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet
from numpy.typing import NDArray

from prep.readers.files import find_file
from prep.readers.raw import INTERACTIONS, Raw
from prep.steps.problems import Problem
from toolkit.errors import UserError

ITEM_COLUMNS = ("item_id", "item_title", "item_tags", "likes_level", "views_level")
SEQUENCE_COLUMNS = ("user_id", "item_seq")
PADDING = 0
_ROWS_AT_ONCE = 1 << 18

Numbers = NDArray[np.int64]


def find(dump: Path) -> dict[str, Path]:
    """The files of items and of sequences, or nothing if the dump has neither.

    Raises:
        UserError: if one of the two is missing, or comes several times.
    """
    items = find_file(dump, "item_feature.parquet") or find_file(dump, "item_info.parquet")
    sequences = find_file(dump, "item_seq.parquet")
    one = items or sequences
    if one is None:
        return {}
    if items is None or sequences is None:
        raise UserError(
            f"{dump}: found {one.name} but not both item_seq.parquet and item_feature.parquet or "
            "item_info.parquet of the MicroLens challenge; put them side by side"
        )
    return {"items": items, "sequences": sequences}


def read(files: dict[str, Path]) -> Raw:
    """Reads both files; of each user's sequences the longest, of which others are the beginnings.

    Raises:
        UserError: naming the file and the columns that cannot be read.
    """
    path = files["sequences"]
    sequences = read_sequences(path)
    chosen = longest(sequences)
    return Raw(
        read_items(files["items"]),
        _batches(sequences, chosen),
        files["items"].name,
        path.name,
        _told(path.name, sequences, chosen),
    )


# --- items


def read_items(path: Path) -> pa.Table:
    """Items as columns item_id, title (null without titles), line (from 1) and extras.

    Raises:
        UserError: if the columns are not those of the challenge.
    """
    file = _open(path, ("item_id",), {"item_id"})
    table = file.read(columns=[name for name in ITEM_COLUMNS if name in file.schema_arrow.names])
    columns = {
        "item_id": table.column("item_id").cast(pa.string()),
        "title": pa.nulls(table.num_rows, pa.string()),
        "line": pa.array(range(1, table.num_rows + 1), pa.int64()),
    }
    for name in ("likes_level", "views_level"):
        if name in table.column_names:
            columns[name] = table.column(name).cast(pa.int64())
    if "item_title" in table.column_names:
        columns["title"] = table.column("item_title").cast(pa.string())
    if "item_tags" in table.column_names:
        tags = [_tags(row) for row in table.column("item_tags").to_pylist()]
        columns["tags"] = pa.array(tags, pa.list_(pa.string()))
    return pa.table(columns).filter(pa.array(_numbers(path, table, "item_id") != PADDING))


def _tags(numbers: list[int] | None) -> list[str] | None:
    return None if numbers is None else [str(number) for number in numbers if number != PADDING]


# --- sequences


class Sequences(NamedTuple):
    """Rows of item_seq.parquet without padding, in the file's order.

    Args:
        users: (R,) whose each is.
        starts: (R + 1,) row r is `items[starts[r] : starts[r + 1]]`.
        items: all rows end to end.
    """

    users: Numbers
    starts: Numbers
    items: Numbers


def read_sequences(path: Path) -> Sequences:
    """Reads every row.

    Raises:
        UserError: if the columns are not those of the challenge.
    """
    file = _open(path, SEQUENCE_COLUMNS, {"user_id"})
    if not _is_list_of_numbers(file.schema_arrow.field("item_seq").type):
        raise _other_columns(path, file, SEQUENCE_COLUMNS)
    nothing = np.empty(0, np.int64)
    users, lengths, items = [nothing], [nothing], [nothing]
    for batch in file.iter_batches(_ROWS_AT_ONCE, columns=list(SEQUENCE_COLUMNS)):
        lists = batch.column("item_seq")
        flat = lists.flatten().to_numpy(zero_copy_only=False).astype(np.int64)
        owners = pc.list_parent_indices(lists).to_numpy()
        kept = flat != PADDING
        users.append(_numbers(path, batch, "user_id"))
        lengths.append(np.bincount(owners[kept], minlength=batch.num_rows))
        items.append(flat[kept])
    starts = np.concatenate([[0], np.cumsum(np.concatenate(lengths))])
    return Sequences(np.concatenate(users), starts, np.concatenate(items))


def longest(sequences: Sequences) -> Numbers:
    """(U,) the row of each user's longest sequence, the last of equal ones; users as they first come."""
    users, lengths = sequences.users, np.diff(sequences.starts)
    order = np.lexsort((np.arange(len(users)), lengths, users))
    ends = np.flatnonzero(np.append(np.diff(users[order]) != 0, True)) if len(users) else order
    _, first = np.unique(users, return_index=True)
    return order[ends][np.argsort(first)]


def _batches(sequences: Sequences, chosen: Numbers) -> Iterator[pa.RecordBatch]:
    """Interactions of the chosen rows; of a row without items, one that has none either."""
    for start in range(0, len(chosen), _ROWS_AT_ONCE):
        rows = chosen[start : start + _ROWS_AT_ONCE]
        lengths = np.diff(sequences.starts)[rows]
        times = np.maximum(lengths, 1)
        empty = np.repeat(lengths == 0, times)
        items = np.zeros(len(empty), np.int64)
        items[~empty] = sequences.items[_places(sequences.starts[rows], lengths)]
        columns = [
            pa.array(np.repeat(sequences.users[rows], times)).cast(pa.string()),
            pa.array(items, mask=empty).cast(pa.string()),
            pa.nulls(len(items), pa.int64()),
            pa.array(np.repeat(rows + 1, times)),
        ]
        yield pa.RecordBatch.from_arrays(columns, schema=INTERACTIONS)


def _told(file: str, sequences: Sequences, chosen: Numbers) -> tuple[Problem, ...]:
    """In sum, the rows that are left out though they are no beginning of the kept one."""
    others = _other_rows(sequences, chosen)
    if not len(others):
        return ()
    message = (
        f"{file}: {len(others):,} rows are no beginning of their user's longest sequence, which "
        f"alone is kept (e.g. row {others[0] + 1:,} of user {sequences.users[others[0]]})"
    )
    return (Problem(None, "other_sequence", message),)


def _other_rows(sequences: Sequences, chosen: Numbers) -> Numbers:
    """The rows whose items are not those with which their user's chosen row begins."""
    users, starts, items = sequences
    by_user = chosen[np.argsort(users[chosen])]
    found = []
    for start in range(0, len(users), _ROWS_AT_ONCE):
        rows = np.arange(start, min(start + _ROWS_AT_ONCE, len(users)))
        into = by_user[np.searchsorted(users[by_user], users[rows])]
        lengths = np.diff(starts)[rows]
        differ = items[_places(starts[rows], lengths)] != items[_places(starts[into], lengths)]
        found.append(rows[np.unique(np.repeat(np.arange(len(rows)), lengths)[differ])])
    return np.concatenate(found) if found else np.empty(0, np.int64)


def _places(starts: Numbers, lengths: Numbers) -> Numbers:
    """The numbers start, start + 1, ... of each run, end to end."""
    before = np.cumsum(lengths) - lengths
    return np.arange(lengths.sum()) + np.repeat(starts - before, lengths)


# --- files


def _open(path: Path, wanted: tuple[str, ...], numbers: set[str]) -> pa.parquet.ParquetFile:
    """A Parquet file that has the `wanted` columns, `numbers` among them of whole numbers."""
    try:
        file = pa.parquet.ParquetFile(path)
    except (pa.ArrowException, OSError) as error:
        raise UserError(f"{path}: not a Parquet file ({error}); download it again") from None
    types = {field.name: field.type for field in file.schema_arrow}
    if set(wanted) - set(types) or not all(pa.types.is_integer(types[name]) for name in numbers):
        raise _other_columns(path, file, wanted)
    return file


def _numbers(path: Path, rows: pa.Table | pa.RecordBatch, name: str) -> Numbers:
    """A column of ids."""
    if rows.column(name).null_count:
        raise UserError(f"{path}: column {name} has rows without a value; download it again")
    numbers: Numbers = rows.column(name).to_numpy().astype(np.int64)
    return numbers


def _other_columns(path: Path, file: pa.parquet.ParquetFile, wanted: tuple[str, ...]) -> UserError:
    found = ", ".join(f"{field.name}: {field.type}" for field in file.schema_arrow)
    return UserError(
        f"{path}: expected the columns {', '.join(wanted)} of whole numbers, as the MicroLens challenge "
        f"has them, found {found}; for tables of your own give --layout table --columns ..."
    )


def _is_list_of_numbers(type_: pa.DataType) -> bool:
    lists = (
        pa.types.is_list(type_)
        or pa.types.is_large_list(type_)
        or pa.types.is_fixed_size_list(type_)
    )
    return bool(lists and pa.types.is_integer(type_.value_type))
