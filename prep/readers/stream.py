"""Interactions as streams: a file is read a block at a time, and may be larger than memory.

Batches are those of `prep.readers.raw.INTERACTIONS`. What cannot be read is named by file and line.
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

BLOCK_BYTES = 1 << 24  # no line is longer
LINES_LOOKED_AT = 200  # to tell a header from a row


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
    """A delimited file as strings, with the line each row stands on (from 1); blank lines left out.

    Args:
        path: the file, UTF-8.
        names: of its columns; with a header, its roles.
        sep: between them; a header may say otherwise.
        expected: what a line should be, for messages.
        quoted: whether quotes mean anything.
        header: what the first line says, if it names the columns.
        skipped: lines before the header or the first row.
        may_be_empty: columns in which an empty field is no mistake.

    Raises:
        UserError: if the file is empty or not UTF-8, or a line has more or fewer fields, or an
            empty one.
    """
    refuse_other_text(path)
    header_lines = skipped + (header is not None)
    columns = list(names)
    if header is not None:
        sep = header.separator
        columns = [f"_{place}" for place in range(header.width)]
        for name in names:
            columns[header.places[name]] = name
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
    """Without the spaces after separators, and the quotes that these make literal."""
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
    """Every line but the header's as a row, blank ones as empty strings."""
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
            words = f"expected {expected}, found {odd[0][:60]!r}; mend the line or delete it"
            raise UserError(f"{where}: {words}") from None
        refuse_other_encoding(path)
        if header_lines and "Empty CSV" in str(error):
            return  # a header and nothing else
        raise UserError(f"{path}: expected {expected} on every line ({error}); mend it") from None


def line_of(path: Path, wanted: Callable[[bytes], bool]) -> int:
    """The number of the first line, from 1, that is wanted; 0 if none is."""
    with path.open("rb") as file:
        found = (
            number for number, line in enumerate(file, start=1) if wanted(line.rstrip(b"\r\n"))
        )
        return next(found, 0)


def refuse_other_encoding(path: Path) -> None:
    """Lets through a file that is UTF-8.

    Raises:
        UserError: naming the first line that is not.
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
    place = pc.index(broken, True).as_py()
    if place >= 0:
        *fields, number = (column[place].as_py() for column in batch.columns)
        raise UserError(
            f"{path}:{number}: expected {expected}, found {sep.join(fields)[:60]!r}; "
            "mend the line or delete it"
        )


def sequences(path: Path) -> Iterator[pa.RecordBatch]:
    """A file of `user<TAB>items split by spaces`, as one row an interaction; a header is left out.

    A user without any item has one row, whose item is null.

    Raises:
        UserError: as `lines` does.
    """
    expected = "a user, a tab and items split by spaces"
    header = header_or_none(
        path,
        first_lines(path, LINES_LOOKED_AT),
        ["user", "items"],
        form="user<TAB>items",
        separator="\t",
    )
    if header is not None and (header.separator, header.width, header.places["user"]) != (
        "\t",
        2,
        0,
    ):
        raise UserError(
            f"{path}:1: the header is not of a user and items split by spaces, with a tab between; rename its "
            "columns, or see which --layout it is"
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
