"""Reads captions that were generated elsewhere: a CSV or Parquet file with one caption per item."""

from pathlib import Path
from typing import get_args

import pyarrow as pa
import pyarrow.compute as pc

from prep.readers.columns import Sheet, is_parquet, open_sheet, read_columns
from prep.readers.table import refuse_twice
from toolkit.errors import UserError
from toolkit.schema import Status

_REQUIRED = ("item_id", "text")
_OPTIONAL = ("model", "revision", "prompt_hash", "status", "message")
_COLUMNS = (*_REQUIRED, *_OPTIONAL)


def open_captions(file: str) -> Sheet:
    """Checks that a file exists and has the columns of captions.

    Args:
        file: path of a CSV file with a header, or of a Parquet file.

    Raises:
        UserError: if the file does not exist, is of another kind, or lacks item_id or text.
    """
    path = Path(file)
    if not is_parquet(path) and path.suffix.lower() != ".csv":
        raise UserError(
            f"{path}: captions are read from .csv and .parquet; convert the file to one of them"
        )
    if not path.exists():
        raise UserError(f"{path}: no such file of captions; correct the path")
    sheet = open_sheet(path, _COLUMNS)
    absent = [name for name in _REQUIRED if name not in sheet.names]
    if absent:
        raise UserError(
            f"{path}: no column {absent[0]!r}; found {', '.join(sheet.names)}; captions need the columns item_id "
            f"and text, and may have {', '.join(_OPTIONAL)}"
        )
    refuse_twice(path, sheet.names, _COLUMNS)
    return sheet


def read_captions(file: str) -> pa.Table:
    """The rows of a file of captions, as strings: item_id, text, model, revision, prompt_hash, status, message.

    A null, and the value of a column that the file lacks, is "". Other columns are ignored.

    Raises:
        UserError: if the file cannot be read, or a status is unknown; with the row.
    """
    sheet = open_captions(file)
    names = {"item" if name == "item_id" else name: name for name in _COLUMNS}
    stored = {role: name for role, name in names.items() if name in sheet.names}
    rows = pa.Table.from_batches(list(read_columns(sheet, stored)))
    for name in _OPTIONAL:
        if name not in stored:
            blank = pa.chunked_array([pa.repeat("", rows.num_rows)], pa.string())
            rows = rows.append_column(name, blank)
    _refuse_unknown_status(sheet, rows)
    return rows.select(list(names)).rename_columns(list(_COLUMNS))


def _refuse_unknown_status(sheet: Sheet, rows: pa.Table) -> None:
    known = pc.is_in(rows["status"], pa.array(["", *get_args(Status)]))
    row = pc.index(known, False).as_py()
    if row >= 0:
        raise UserError(
            f"{sheet.path}:{rows['line'][row]}: status {rows['status'][row].as_py()!r} is unknown; use one of "
            f"{', '.join(get_args(Status))}, or leave it empty"
        )
