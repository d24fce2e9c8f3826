"""Layout challenge: the 1M release of MicroLens for the MM-CTR challenge, Parquet files with anonymised ids.

`item_feature.parquet` (or `item_info.parquet`, which has no titles): item_id, item_title, item_tags
(numbers, padded with 0), likes_level and views_level (levels from 0 to 10, not counts), and vectors, which
`prep.towers.imported` can import. `item_seq.parquet`: user_id and item_seq, the items of a user in order, padded
with 0, with several rows per user. Item 0 is padding. `train|valid|test.parquet` hold labelled impressions, sampled
for click prediction. They are not read, because they are not histories.

The columns are those that public solutions of the challenge read; the official description is a picture.
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
    """The files of items and of sequences, or an empty dict if the dump has neither.

    Raises:
        UserError: if one of the two is missing, or several files match.
    """
    items = find_file(dump, "item_feature.parquet") or find_file(dump, "item_info.parquet")
    sequences = find_file(dump, "item_seq.parquet")
    either = items or sequences
    if either is None:
        return {}
    if items is None or sequences is None:
        raise UserError(
            f"{dump}: found {either.name}, expected both item_seq.parquet and item_feature.parquet (or "
            "item_info.parquet) of the MicroLens challenge; put both files into one folder"
        )
    return {"items": items, "sequences": sequences}


def read(files: dict[str, Path]) -> Raw:
    """Reads both files; keeps the longest sequence of each user, whose prefixes the other sequences usually are.

    Raises:
        UserError: with the file and the columns that cannot be read.
    """
    path = files["sequences"]
    sequences = read_sequences(path)
    kept = longest(sequences)
    return Raw(
        read_items(files["items"]),
        _batches(sequences, kept),
        files["items"].name,
        path.name,
        _other_sequences(path.name, sequences, kept),
    )


# --- items


def read_items(path: Path) -> pa.Table:
    """Items as columns item_id, title (null if the file has no titles), line (from 1) and extras.

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
        users: (R,) user of each row.
        starts: (R + 1,) offsets: row r is `items[starts[r] : starts[r + 1]]`.
        items: items of all rows, concatenated.
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
    """(U,) the row of each user's longest sequence, the last row for ties; users by first appearance."""
    users, lengths = sequences.users, np.diff(sequences.starts)
    order = np.lexsort((np.arange(len(users)), lengths, users))
    ends = np.flatnonzero(np.append(np.diff(users[order]) != 0, True)) if len(users) else order
    _, first = np.unique(users, return_index=True)
    return order[ends][np.argsort(first)]


def _batches(sequences: Sequences, kept: Numbers) -> Iterator[pa.RecordBatch]:
    """Interactions of the kept rows; a row without items becomes one interaction without an item."""
    for start in range(0, len(kept), _ROWS_AT_ONCE):
        rows = kept[start : start + _ROWS_AT_ONCE]
        lengths = np.diff(sequences.starts)[rows]
        times = np.maximum(lengths, 1)
        empty = np.repeat(lengths == 0, times)
        items = np.zeros(len(empty), np.int64)
        items[~empty] = sequences.items[_ranges(sequences.starts[rows], lengths)]
        columns = [
            pa.array(np.repeat(sequences.users[rows], times)).cast(pa.string()),
            pa.array(items, mask=empty).cast(pa.string()),
            pa.nulls(len(items), pa.int64()),
            pa.array(np.repeat(rows + 1, times)),
        ]
        yield pa.RecordBatch.from_arrays(columns, schema=INTERACTIONS)


def _other_sequences(file: str, sequences: Sequences, kept: Numbers) -> tuple[Problem, ...]:
    """One problem that counts the dropped rows that are not a prefix of the kept row."""
    others = _other_rows(sequences, kept)
    if not len(others):
        return ()
    message = (
        f"{file}: {len(others):,} rows are not a prefix of their user's longest sequence; only the "
        f"longest is kept (e.g. row {others[0] + 1:,} of user {sequences.users[others[0]]})"
    )
    return (Problem(None, "other_sequence", message),)


def _other_rows(sequences: Sequences, kept: Numbers) -> Numbers:
    """The rows that are not a prefix of their user's kept row."""
    users, starts, items = sequences
    by_user = kept[np.argsort(users[kept])]
    others = []
    for start in range(0, len(users), _ROWS_AT_ONCE):
        rows = np.arange(start, min(start + _ROWS_AT_ONCE, len(users)))
        into = by_user[np.searchsorted(users[by_user], users[rows])]
        lengths = np.diff(starts)[rows]
        differ = items[_ranges(starts[rows], lengths)] != items[_ranges(starts[into], lengths)]
        others.append(rows[np.unique(np.repeat(np.arange(len(rows)), lengths)[differ])])
    return np.concatenate(others) if others else np.empty(0, np.int64)


def _ranges(starts: Numbers, lengths: Numbers) -> Numbers:
    """The indices start, start + 1, ... of each range, concatenated."""
    before = np.cumsum(lengths) - lengths
    return np.arange(lengths.sum()) + np.repeat(starts - before, lengths)


# --- files


def _open(path: Path, wanted: tuple[str, ...], numbers: set[str]) -> pa.parquet.ParquetFile:
    """Opens a Parquet file that must have the `wanted` columns; those in `numbers` must be integers."""
    try:
        file = pa.parquet.ParquetFile(path)
    except (pa.ArrowException, OSError) as error:
        raise UserError(f"{path}: not a Parquet file ({error}); download it again") from None
    types = {field.name: field.type for field in file.schema_arrow}
    if set(wanted) - set(types) or not all(pa.types.is_integer(types[name]) for name in numbers):
        raise _other_columns(path, file, wanted)
    return file


def _numbers(path: Path, rows: pa.Table | pa.RecordBatch, name: str) -> Numbers:
    """A column of integer ids."""
    if rows.column(name).null_count:
        raise UserError(f"{path}: column {name} has rows without a value; download it again")
    numbers: Numbers = rows.column(name).to_numpy().astype(np.int64)
    return numbers


def _other_columns(path: Path, file: pa.parquet.ParquetFile, wanted: tuple[str, ...]) -> UserError:
    columns = ", ".join(f"{field.name}: {field.type}" for field in file.schema_arrow)
    return UserError(
        f"{path}: expected the integer columns {', '.join(wanted)} of the MicroLens challenge, found {columns}; "
        "for custom tables use --layout table --columns ..."
    )


def _is_list_of_numbers(type_: pa.DataType) -> bool:
    lists = (
        pa.types.is_list(type_)
        or pa.types.is_large_list(type_)
        or pa.types.is_fixed_size_list(type_)
    )
    return bool(lists and pa.types.is_integer(type_.value_type))
