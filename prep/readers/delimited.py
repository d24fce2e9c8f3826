"""Delimited text files, with file and line of whatever cannot be read."""

import csv
import io
from pathlib import Path

import pandas as pd

from toolkit.errors import UserError


def csv_rows(
    path: Path, text: str, names: list[str], *, advice: str
) -> list[tuple[list[str], int]]:
    """The rows of a CSV with quotes, each with the line it ends on (from 1); blank lines left out.

    Args:
        path: where the text is from, for messages.
        text: all of it.
        names: of its columns.
        advice: what to do about a row of another form.

    Raises:
        UserError: if a quote stays open, or a row has more or fewer fields.
    """
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    rows = []
    try:
        for row in reader:
            if len(row) == len(names):
                rows.append((row, reader.line_num))
            elif row:
                raise csv.Error(f"{len(row)} fields")
    except csv.Error as error:
        raise UserError(
            f"{path}:{reader.line_num}: expected {','.join(names)} with quotes closed and commas "
            f"quoted ({error}); {advice}"
        ) from None
    return rows


def plain_columns(path: Path, names: list[str], *, sep: str, skiprows: int = 0) -> pd.DataFrame:
    """A delimited file as strings, with the line each row stands on; blank lines left out.

    Args:
        path: the file.
        names: of its columns.
        sep: between them.
        skiprows: lines before the first row.

    Raises:
        UserError: if a line has more or fewer fields, or an empty one.
    """
    try:
        frame = pd.read_csv(
            path,
            sep=sep,
            names=[*names, "excess"],
            skiprows=skiprows,
            dtype="str",
            keep_default_na=False,
            na_values=[""],
            skip_blank_lines=False,
            encoding="utf-8-sig",
            on_bad_lines="error",
        )
    except (pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeDecodeError) as error:
        raise UserError(
            f"{path}: expected {sep.join(names)!r} on every line ({str(error).strip()}); mend the file"
        ) from None
    frame["line"] = frame.index + 1 + skiprows
    frame = frame.dropna(subset=names, how="all")
    broken = frame[frame[names].isna().any(axis=1) | frame["excess"].notna()]
    if len(broken):
        found = sep.join(broken.iloc[0].drop("line").dropna())
        raise UserError(
            f"{path}:{broken['line'].iloc[0]}: expected {sep.join(names)!r}, found {found!r}; "
            "mend the line or delete it"
        )
    return frame.drop(columns="excess")


def integers(path: Path, frame: pd.DataFrame, column: str, expected: str) -> "pd.Series[int]":
    """A column of strings as 64-bit integers.

    Args:
        path: where the frame is from, for messages.
        frame: with `column` and `line`.
        column: the one to read.
        expected: what its values are, for messages.

    Raises:
        UserError: naming the first line whose value is no whole number.
    """
    good = frame[column].str.fullmatch(r"\s*-?\d{1,18}\s*")
    if not good.all():
        row = frame[~good].iloc[0]
        raise UserError(
            f"{path}:{row['line']}: expected {expected}, found {row[column]!r}; "
            "mend the line or delete it"
        )
    return frame[column].astype("int64")
