"""Reads columns of CSV and Parquet files by name, as pandas, Polars, Spark and Excel write them.

A CSV file may be separated by commas, semicolons, tabs or bars, and may begin with a byte order mark or Excel's
`sep=;`. A folder of Parquet files is one table. Its parts may differ in type: in a part without values, a column has
the type null.
"""

import csv
import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet

from prep.readers.headers import SEPARATORS
from prep.readers.ids import trimmed_ids
from prep.readers.raw import parts
from prep.readers.stream import BLOCK_BYTES, refuse_other_encoding
from prep.readers.text import refuse_other_text
from toolkit.errors import UserError

_EXCEL_LINE = re.compile(r"sep=(.)\s*", re.IGNORECASE)


@dataclass(frozen=True)
class Sheet:
    """A file with named columns.

    Args:
        path: the file, or the folder of Parquet files.
        names: names of the columns, without surrounding spaces.
        separator: field separator; empty for Parquet.
        lines: number of lines before the first row.
    """

    path: Path
    names: list[str]
    separator: str = ""
    lines: int = 0

    @property
    def first_row(self) -> int:
        """Number of the first row: rows count from 1, and in text files the header counts."""
        return 2 if self.separator else 1


def is_parquet(path: Path) -> bool:
    """Whether a path is a Parquet file or a folder of Parquet files."""
    if path.is_dir():
        return any(path.glob("*.parquet"))
    return path.suffix.lower() == ".parquet"


def open_sheet(path: Path, wanted: Collection[str], separators: str = "".join(SEPARATORS)) -> Sheet:
    """Reads the names of a file's columns.

    Args:
        path: a text file, a Parquet file, or a folder of Parquet files.
        wanted: names of expected columns; the separator with the most matches is chosen.
        separators: separators to try, in this order.

    Raises:
        UserError: if the file is neither text nor Parquet.
    """
    if is_parquet(path):
        return Sheet(path, _parquet_names(path))
    refuse_other_text(path)
    sheets = [_sheet(path, separator) for separator in separators]
    best = max(sheets, key=lambda sheet: len(set(wanted) & set(sheet.names)))
    return best if set(wanted) & set(best.names) else sheets[0]


def _sheet(path: Path, separator: str) -> Sheet:
    with path.open(encoding="utf-8-sig", errors="replace", newline="") as file:
        begin = 0
        first = file.readline(1 << 20)
        while first and (not first.strip() or _EXCEL_LINE.fullmatch(first)):
            begin, first = begin + 1, file.readline(1 << 20)
        reader = csv.reader(chain([first], file), delimiter=separator, skipinitialspace=True)
        try:
            names = next(reader, []) if first else []
        except csv.Error as error:
            raise UserError(f"{path}:1: not a CSV file ({error}); move it away") from None
    return Sheet(path, [name.strip() for name in names], separator, begin + reader.line_num)


def _parquet_names(path: Path) -> list[str]:
    part = parts(path)[0]
    try:
        return list(pa.parquet.read_schema(part).names)
    except (pa.ArrowException, OSError) as error:
        raise UserError(f"{part}: not a Parquet file ({error}); move it away") from None


def read_columns(sheet: Sheet, names: dict[str, str]) -> Iterator[pa.RecordBatch]:
    """Yields columns named by role, and line; at least one batch.

    Users, items and titles are strings without nulls; ids have no surrounding spaces and are not empty.
    Times have the types that `prep.readers.times.Times` reads.

    Args:
        sheet: file that `open_sheet` opened.
        names: names of the columns by role.

    Raises:
        UserError: with file and row, or part and column, of the first error.
    """
    first = sheet.first_row
    for part, raw in _batches(sheet, list(names.values())):
        columns = {"line": pa.array(np.arange(first, first + raw.num_rows))}
        for role, name in names.items():
            column = _as_role(part, name, raw.column(name), role)
            if role in ("user", "item"):
                _refuse_empty(sheet.path, name, column, first)
            columns[role] = column
        first += raw.num_rows
        yield pa.record_batch(columns)


def _batches(sheet: Sheet, names: list[str]) -> Iterator[tuple[Path, pa.RecordBatch]]:
    empty = True
    for part in parts(sheet.path):
        for batch in _read_csv(sheet, names) if sheet.separator else _read_parquet(part, names):
            empty = False
            yield part, batch
    if empty:
        yield sheet.path, pa.record_batch({name: pa.array([], pa.string()) for name in names})


def _read_csv(sheet: Sheet, names: list[str]) -> Iterator[pa.RecordBatch]:
    # Columns are read by number, because unused columns may have equal or empty names.
    numbers = {name: str(sheet.names.index(name)) for name in names}
    try:
        reader = pa.csv.open_csv(
            sheet.path,
            read_options=pa.csv.ReadOptions(
                block_size=BLOCK_BYTES,
                skip_rows=sheet.lines,
                column_names=[str(number) for number in range(len(sheet.names))],
            ),
            parse_options=pa.csv.ParseOptions(delimiter=sheet.separator, newlines_in_values=True),
            convert_options=pa.csv.ConvertOptions(
                include_columns=list(numbers.values()),
                column_types=dict.fromkeys(numbers.values(), pa.string()),
            ),
        )
        for batch in reader:
            yield batch.rename_columns(names)
    except pa.ArrowInvalid as error:
        refuse_other_encoding(sheet.path)
        if "Empty CSV" in str(error):  # the file has only a header
            return
        reason = " ".join(str(error).split())
        raise UserError(
            f"{sheet.path}: {reason}; fix the file, or save it as UTF-8 with commas"
        ) from None


def _read_parquet(part: Path, names: list[str]) -> Iterator[pa.RecordBatch]:
    try:
        file = pa.parquet.ParquetFile(part)
        absent = [name for name in names if name not in file.schema_arrow.names]
        if absent:
            raise UserError(
                f"{part}: no column {absent[0]!r}, which other parts have; found "
                f"{', '.join(file.schema_arrow.names)}; move the file away or write it again"
            )
        yield from file.iter_batches(columns=names)
    except (pa.ArrowException, OSError) as error:
        raise UserError(f"{part}: cannot be read ({error}); download it again") from None


def _as_role(path: Path, name: str, column: pa.Array, role: str) -> pa.Array:
    if role == "time" and (pa.types.is_timestamp(column.type) or pa.types.is_date(column.type)):
        return column
    strings = pc.fill_null(_strings(path, name, column, role), "")
    return trimmed_ids(strings) if role in ("user", "item") else strings


def _strings(path: Path, name: str, column: pa.Array, role: str) -> pa.Array:
    """Converts strings and integers to strings; for times also decimals."""
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    type_ = column.type
    types = pa.types
    if types.is_null(type_):
        return pa.nulls(len(column), pa.string())
    try:
        if types.is_string(type_) or types.is_large_string(type_) or types.is_string_view(type_):
            return column.cast(pa.string())
        if types.is_integer(type_) and role != "title":
            return column.cast(pa.string())
        if types.is_binary(type_) or types.is_large_binary(type_):
            return column.cast(pa.large_binary()).cast(pa.large_string()).cast(pa.string())
        if types.is_decimal(type_) and role != "title":
            return column.cast(pa.decimal128(38, 0)).cast(pa.string())
        if types.is_floating(type_) and role != "title":
            return _whole_numbers(column, role)
    except pa.ArrowInvalid:
        pass  # refused below: the values do not fit the role
    expected = {
        "time": "whole numbers, dates or points in time",
        "title": "strings",
    }.get(role, "strings or whole numbers")
    raise UserError(
        f"{path}: column {name!r} ({role}) has type {type_}, expected {expected}; convert it"
    )


def _whole_numbers(column: pa.Array, role: str) -> pa.Array:
    """Converts floats to integer strings; NaN becomes null. Pandas stores integers with missing values as floats."""
    column = column.cast(pa.float64())
    column = pc.if_else(pc.is_nan(column), None, column)
    if role == "time" and not pc.all(pc.equal(pc.floor(column), column), min_count=0).as_py():
        return column.cast(pa.string())
    return column.cast(pa.int64()).cast(pa.string())


def _refuse_empty(path: Path, name: str, column: pa.Array, first: int) -> None:
    empty = pc.index(pc.equal(column, ""), True).as_py()
    if empty >= 0:
        raise UserError(
            f"{path}:{first + empty}: column {name!r} is empty; fill it in or delete the row"
        )
