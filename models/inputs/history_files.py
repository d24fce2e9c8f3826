"""Histories from a CSV, Parquet or JSON Lines file: `python -m models recommend RUN --histories FILE`.

R rows of the file, V interactions.
"""

import json
import re
import sys
from collections.abc import Callable
from itertools import chain, islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet
from numpy.typing import NDArray

from models.inputs.histories import AT_LEAST_ONE, Histories, find_items, first_true
from toolkit.arguments import a_path
from toolkit.dataset import Dataset
from toolkit.errors import UserError
from toolkit.text_files import ENCODING, refuse_wide_text

_EXPECTED = (
    "user_id and item_id, with timestamp_ms if a user's rows are not in time order; "
    "or user_id and items, a user's item ids in time order"
)
_CSV_TYPES = {
    **dict.fromkeys(("user_id", "item_id", "items"), pa.string()),
    "timestamp_ms": pa.int64(),
}
_READ = ("user_id", "item_id", "items", "timestamp_ms")
_PANDAS_INDEX = re.compile(r"__index_level_\d+__|Unnamed: \d+")
_TIME_NAME = re.compile(r"time|date|^ts$|_ts$|when")
_LINES_AT_ONCE = 1 << 16
_LISTS = (pa.types.is_list, pa.types.is_large_list, pa.types.is_fixed_size_list)
Rows = NDArray[np.int64]


def read_histories(path: str | Path, dataset: Dataset) -> Histories:
    """Reads histories from a file.

    A CSV or Parquet file has a row per interaction or a row per user. A row per interaction has `user_id` and
    `item_id`, and `timestamp_ms` if a user's rows are not in time order. A row per user has `user_id` and `items`: a
    list, or text with spaces between ids. JSON Lines are `{"user_id": …, "items": […]}`. Ids are text; whole numbers
    are read as their decimal digits. A user's rows need not be adjacent.

    An index written by pandas (`__index_level_0__`, an unnamed first CSV column, `Unnamed: 0`) is ignored. Other
    columns (`rating`) are ignored and listed on stderr. A column that may hold times under another name is refused,
    because neither its meaning nor its unit is known.

    Args:
        path: .csv, .parquet or .jsonl file.
        dataset: dataset of the items.

    Returns:
        The users in the order of their first rows.

    Raises:
        UserError: if the file cannot be read or has other columns; if an id or a time is missing, a user has no
            items, or an item is not in the dataset.
    """
    path = a_path(path, name="histories")
    name, reader = f"--histories {path}", _READERS.get(path.suffix.lower())
    if reader is None:
        raise UserError(
            f"{name}: its ending must be one of {', '.join(_READERS)}; convert the file"
        )
    try:
        if reader.is_text:
            refuse_wide_text(path, name=name)
        table = reader.read(path)
    except UserError as error:
        raise UserError(
            str(error) if str(error).startswith(name) else f"{name}: cannot be read: {error}"
        ) from None
    except (pa.ArrowException, OSError, ValueError) as error:
        raise UserError(f"{name}: cannot be read: {' '.join(str(error).split())}") from None
    return _HistoryFile(name, _select_columns(name, table), reader).histories(dataset)


def _select_columns(name: str, table: pa.Table) -> pa.Table:
    """The columns of histories. Lists ignored columns on stderr.

    Raises:
        UserError: if a column is missing, appears twice, or may hold times under another name.
    """
    columns = table.column_names
    duplicate = next((column for column in columns if columns.count(column) > 1), None)
    if duplicate is not None:
        raise UserError(f"{name}: column {duplicate!r} appears twice; remove one of them")
    ignored = [
        column
        for index, column in enumerate(columns)
        if column not in _READ and not _is_pandas_index(index, column)
    ]
    read = [column for column in columns if column in _READ]
    if not {"user_id", "item_id"} <= {*read} and not {"user_id", "items"} <= {*read}:
        raise UserError(f"{name}: its columns are {', '.join(columns)}; expected {_EXPECTED}")
    times = [column for column in ignored if _TIME_NAME.search(column.lower())]
    if times:
        raise UserError(
            f"{name}: its columns are {', '.join(columns)}; expected {_EXPECTED}. If {times[0]!r} orders a user's "
            "rows, rename it to timestamp_ms, in milliseconds; otherwise remove it"
        )
    if ignored:
        print(f"{name}: ignored columns: {', '.join(map(repr, ignored))}", file=sys.stderr)
    return table.select(read)


def _is_pandas_index(index: int, column: str) -> bool:
    """Whether a column is an index that pandas wrote under a default name."""
    return bool(_PANDAS_INDEX.fullmatch(column)) or (index == 0 and column == "")


class _Reader(NamedTuple):
    """A file format.

    Args:
        read: reads a file into a table.
        row: noun for a row in messages.
        first: number of the first row in messages.
        is_text: whether the format is text.
    """

    read: Callable[[Path], pa.Table]
    row: str = "row"
    first: int = 1
    is_text: bool = True


class _HistoryFile:
    """The rows of a history file, and their names in messages.

    Args:
        name: name of the file in messages.
        table: (R,) table of the file.
        reader: format of the file.
    """

    def __init__(self, name: str, table: pa.Table, reader: _Reader) -> None:
        self.name, self.table, self.reader = name, table, reader
        columns = set(table.column_names) - {"timestamp_ms"}
        lists = "items" in columns and "timestamp_ms" not in table.column_names
        if columns != {"user_id", "items" if lists else "item_id"}:
            names = ", ".join(table.column_names)
            raise UserError(f"{name}: its columns are {names}; expected {_EXPECTED}")
        if not table.num_rows:
            raise UserError(f"{name}: it has no rows; expected {_EXPECTED}")
        rows: Rows = np.arange(table.num_rows)
        self.users = self._ids(table.column("user_id"), rows, "user_id")
        self.rows, self.items = self._lists() if lists else (rows, table.column("item_id"))

    def histories(self, dataset: Dataset) -> Histories:
        """The interactions grouped by user, and ordered by time if the file has times."""
        ids = self._ids(self.items, self.rows, "item id")
        numbers = find_items(ids, dataset)
        if not numbers.all():
            index = int(np.argmin(numbers))
            raise UserError(
                f"{self._row(self.rows[index])}: item {ids[index].as_py()!r} is not one of the "
                f"{dataset.items.num_rows:,} items of {dataset.path}; correct or remove it (a new item "
                "needs hidden states in a dataset: --data)"
            )
        users = self.users.dictionary_encode().combine_chunks()
        codes = users.indices.to_numpy()[self.rows]
        times = self._times()
        order = np.lexsort([*times, codes])  # by user, then time, then file order
        stops = np.cumsum(np.bincount(codes))
        ordered = self._milliseconds(times[0][order]) if times else None
        return Histories(users.dictionary, numbers[order], np.append(0, stops[:-1]), stops, ordered)

    def _lists(self) -> tuple[Rows, pa.ChunkedArray]:
        """(V,) rows, from 0, and (V,) items of all interactions."""
        lists = self.table.column("items")
        if pa.types.is_dictionary(lists.type):
            lists = lists.cast(lists.type.value_type)
        if _is_text(lists.type):
            lists = _split(lists)
        if not any(is_list(lists.type) for is_list in _LISTS):
            raise UserError(
                f"{self.name}: items are of type {lists.type}; expected lists of ids, or text with "
                "spaces between them"
            )
        lengths = pc.list_value_length(lists).fill_null(0).to_numpy()
        if not lengths.all():
            row = self._row(int(np.argmin(lengths)))
            raise UserError(f"{row}: no items; {AT_LEAST_ONE}: remove the user")
        return np.repeat(np.arange(len(lists)), lengths), pc.list_flatten(lists)

    def _times(self) -> list[NDArray[np.int64]]:
        """[(V,)] times of all interactions; [] if the file has no times."""
        if "timestamp_ms" not in self.table.column_names:
            return []
        times = self.table.column("timestamp_ms")
        if not (pa.types.is_integer(times.type) or pa.types.is_timestamp(times.type)):
            raise UserError(
                f"{self.name}: timestamp_ms is of type {times.type}; expected whole numbers"
            )
        if times.null_count:
            row = self._row(first_true(times.is_null()))
            raise UserError(f"{row}: no timestamp_ms; complete the column, or remove it")
        return [times.cast(pa.int64()).to_numpy()]

    def _milliseconds(self, times: NDArray[np.int64]) -> NDArray[np.int64]:
        """Times of a timestamp column of any unit in milliseconds; whole numbers already are."""
        kind = self.table.column("timestamp_ms").type
        unit = kind.unit if pa.types.is_timestamp(kind) else "ms"
        return times * 1000 if unit == "s" else times // {"ms": 1, "us": 1000, "ns": 10**6}[unit]

    def _ids(self, ids: pa.ChunkedArray, rows: Rows, what: str) -> pa.ChunkedArray:
        """Ids as text. `rows` are their row indices, for messages."""
        if pa.types.is_dictionary(ids.type):
            ids = ids.cast(ids.type.value_type)
        if not (_is_text(ids.type) or pa.types.is_integer(ids.type)):
            raise UserError(
                f"{self.name}: its {what} is of type {ids.type}; ids are text or whole numbers"
            )
        texts = ids.cast(pa.string())
        absent = pc.equal(pc.binary_length(texts), 0).fill_null(True)
        if pc.any(absent).as_py():
            row = self._line(rows[first_true(absent)])
            raise UserError(f"{row}: no {what}; add it, or remove the {self.reader.row}")
        return texts

    def _row(self, row: int) -> str:
        return f"{self._line(row)} (user {self.users[row].as_py()!r})"

    def _line(self, row: int) -> str:
        return f"{self.name}: {self.reader.row} {row + self.reader.first}"


def _is_text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))


def _split(texts: pa.ChunkedArray) -> pa.ChunkedArray:
    """Splits texts at spaces into lists; null for a text without other characters."""
    trimmed = pc.utf8_trim_whitespace(texts)
    return pc.utf8_split_whitespace(pc.if_else(pc.equal(trimmed, ""), None, trimmed))


def _read_csv(path: Path) -> pa.Table:
    return pa.csv.read_csv(
        path,
        read_options=pa.csv.ReadOptions(use_threads=False),  # so that errors name the row
        convert_options=pa.csv.ConvertOptions(column_types=_CSV_TYPES, strings_can_be_null=False),
    )


def _read_parquet(path: Path) -> pa.Table:
    return pa.parquet.ParquetFile(path).read()


def _read_jsonl(path: Path) -> pa.Table:
    tables = [_json_table([])]
    with path.open(encoding=ENCODING) as file:
        numbered = enumerate(file, start=1)
        while lines := list(islice(numbered, _LINES_AT_ONCE)):
            tables.append(_json_table([_json_row(*line) for line in lines if line[1].strip()]))
    return pa.concat_tables(tables)


def _json_row(number: int, line: str) -> dict[str, Any]:
    try:
        row = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise UserError(f"line {number} is not JSON ({error})") from None
    if (
        not isinstance(row, dict)
        or not {"items", "user_id"} <= row.keys()
        or any(_TIME_NAME.search(key.lower()) for key in row)
        or not isinstance(row["items"], list)
        or not {*map(type, row["items"]), type(row["user_id"])} <= {str, int}
    ):
        raise UserError(
            f'line {number}: expected {{"user_id": ID, "items": [ID, …]}}, ids as text or whole numbers, the items in '
            "time order"
        )
    return row


def _json_table(rows: list[dict[str, Any]]) -> pa.Table:
    lists = [row["items"] for row in rows]
    users = pa.array([str(row["user_id"]) for row in rows], pa.string())
    items = pa.array(list(map(str, chain.from_iterable(lists))), pa.string())
    offsets = np.cumsum([0, *map(len, lists)], dtype=np.int32)
    return pa.table({"user_id": users, "items": pa.ListArray.from_arrays(offsets, items)})


_READERS = {
    ".csv": _Reader(_read_csv, "line", 2),  # line 1 is the header
    ".parquet": _Reader(_read_parquet, is_text=False),
    ".jsonl": _Reader(_read_jsonl, "line"),
}
