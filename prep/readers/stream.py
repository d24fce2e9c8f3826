"""Streams interactions from files block by block, so that a file may be larger than memory.

Batches have the schema `prep.readers.raw.INTERACTIONS`. Errors name the file and the line.
"""

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv

from prep.readers.headers import Header, header_or_none
from prep.readers.raw import INTERACTIONS
from prep.readers.text import first_lines, not_utf8, refuse_other_text
from toolkit.errors import UserError

BLOCK_BYTES = 1 << 24  # maximum length of a line
LINES_LOOKED_AT = 200  # lines that header detection uses


def lines(
    path: Path,
    names: list[str],
    *,
    sep: str,
    expected: str,
    quoted: bool = True,
    header: Header | None = None,
    skipped: int = 0,
    may_be_empty: tuple[str, ...] = (),
) -> Iterator[pa.RecordBatch]:
    """Reads a delimited file as strings, with the line number of each row (from 1); skips blank lines.

    Args:
        path: UTF-8 file.
        names: names of the columns; with a header, their roles.
        sep: field separator; the separator of `header` takes precedence.
        expected: expected form of a line, for messages.
        quoted: whether fields may be quoted.
        header: the parsed header, if the file has one.
        skipped: number of lines before the header or the first row.
        may_be_empty: columns that may have empty fields.

    Raises:
        UserError: if the file is empty or not UTF-8, or a line has more or fewer fields, or an
            empty field.
    """
    refuse_other_text(path)
    header_lines = skipped + (header is not None)
    columns = list(names)
    if header is not None:
        sep = header.separator
        columns = [f"_{index}" for index in range(header.width)]
        for name in names:
            columns[header.columns[name]] = name
    first, empty_file = header_lines + 1, True
    for batch in _blocks(path, columns, names, sep, expected, quoted, header_lines):
        if header is not None and header.spaced:
            batch = pa.record_batch([_unspaced(column) for column in batch.columns], names)
        numbers = pa.array(np.arange(first, first + batch.num_rows))
        first += batch.num_rows
        empty = [pc.equal(column, "") for column in batch.columns]
        batch = batch.append_column("line", numbers)
        if any(pc.any(column).as_py() for column in empty):
            blank, broken = empty[0], pa.array(np.zeros(batch.num_rows, dtype=bool))
            for name, column in zip(names, empty, strict=True):
                blank = pc.and_(blank, column)
                broken = broken if name in may_be_empty else pc.or_(broken, column)
            _refuse_first(path, batch, pc.and_not(broken, blank), expected, sep)
            batch = batch.filter(pc.invert(blank))
        empty_file = False
        yield batch
    if empty_file:
        types = [(name, pa.string()) for name in names] + [("line", pa.int64())]
        yield pa.RecordBatch.from_pylist([], pa.schema(types))


def _unspaced(column: pa.Array) -> pa.Array:
    """Removes the spaces after separators, and quotes that follow such spaces."""
    trimmed = pc.utf8_trim_whitespace(column)
    return pc.replace_substring_regex(trimmed, r'^"(.*)"$', r"\1")


def _blocks(
    path: Path,
    columns: list[str],
    names: list[str],
    sep: str,
    expected: str,
    quoted: bool,
    header_lines: int,
) -> Iterator[pa.RecordBatch]:
    """Reads every line except the header as a row; blank lines become empty strings."""
    odd: list[str] = []

    def note(row: pyarrow.csv.InvalidRow) -> str:
        odd.append(row.text)
        return "error"

    reading = pyarrow.csv.ReadOptions(
        column_names=columns, skip_rows=header_lines, block_size=BLOCK_BYTES
    )
    parsing = pyarrow.csv.ParseOptions(
        delimiter=sep,
        quote_char='"' if quoted else False,
        ignore_empty_lines=False,
        invalid_row_handler=note,
    )
    types = pyarrow.csv.ConvertOptions(
        include_columns=names, column_types=dict.fromkeys(names, pa.string())
    )
    try:
        yield from pyarrow.csv.open_csv(path, reading, parsing, types)
    except pa.ArrowInvalid as error:
        if path.stat().st_size == 0:
            raise UserError(f"{path}: the file is empty; download it again") from None
        if odd:
            where = f"{path}:{line_of(path, lambda line: line == odd[0].encode())}"
            message = f"expected {expected}, found {odd[0][:60]!r}; fix the line or delete it"
            raise UserError(f"{where}: {message}") from None
        refuse_other_encoding(path)
        if header_lines and "Empty CSV" in str(error):
            return  # the file has only a header
        raise UserError(
            f"{path}: expected {expected} on every line ({error}); fix the file"
        ) from None


def line_of(path: Path, wanted: Callable[[bytes], bool]) -> int:
    """The number of the first line, from 1, for which `wanted` is true; 0 if there is none."""
    with path.open("rb") as file:
        numbers = (
            number for number, line in enumerate(file, start=1) if wanted(line.rstrip(b"\r\n"))
        )
        return next(numbers, 0)


def refuse_other_encoding(path: Path) -> None:
    """Refuses a file that is not UTF-8.

    Raises:
        UserError: with the first line that is not UTF-8.
    """
    number = line_of(path, _is_no_utf8)
    if number:
        raise not_utf8(path, number)


def _is_no_utf8(line: bytes) -> bool:
    try:
        line.decode()
    except UnicodeDecodeError:
        return True
    return False


def _refuse_first(
    path: Path, batch: pa.RecordBatch, broken: pa.BooleanArray, expected: str, sep: str
) -> None:
    row = pc.index(broken, True).as_py()
    if row >= 0:
        *fields, number = (column[row].as_py() for column in batch.columns)
        raise UserError(
            f"{path}:{number}: expected {expected}, found {sep.join(fields)[:60]!r}; "
            "fix the line or delete it"
        )


def sequences(path: Path) -> Iterator[pa.RecordBatch]:
    """Reads a file of `user<TAB>items split by spaces` as one row per interaction; skips a header.

    A user without items has one row whose item is null.

    Raises:
        UserError: as for `lines`.
    """
    expected = "a user, a tab and items split by spaces"
    header = header_or_none(
        path,
        first_lines(path, LINES_LOOKED_AT),
        ["user", "items"],
        form="user<TAB>items",
        separator="\t",
    )
    if header is not None and (header.separator, header.width, header.columns["user"]) != (
        "\t",
        2,
        0,
    ):
        raise UserError(
            f"{path}:1: the header does not name a user and its items, separated by a tab; rename the columns, "
            "or choose another --layout"
        )
    read = lines(
        path,
        ["user_id", "items"],
        sep="\t",
        expected=expected,
        quoted=False,
        skipped=int(header is not None),
        may_be_empty=("items",),
    )
    for batch in read:
        items = pc.utf8_split_whitespace(pc.utf8_trim_whitespace(batch.column("items")))
        owner = pc.list_parent_indices(items)
        flat = pc.list_flatten(items)
        yield interactions(
            batch.column("user_id").take(owner),
            pc.if_else(pc.equal(flat, ""), None, flat),
            pa.nulls(len(flat), pa.int64()),
            batch.column("line").take(owner),
        )


def interactions(
    user_id: pa.Array, item_id: pa.Array, timestamp_ms: pa.Array, line: pa.Array
) -> pa.RecordBatch:
    """One batch of `prep.readers.raw.INTERACTIONS`."""
    return pa.record_batch([user_id, item_id, timestamp_ms, line], schema=INTERACTIONS)
