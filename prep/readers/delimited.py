"""Parses quoted CSV text, with file and line in every error."""

import csv
import io
from pathlib import Path

from toolkit.errors import UserError


def csv_rows(
    path: Path,
    text: str,
    names: list[str],
    *,
    advice: str,
    separator: str = ",",
    spaced: bool = False,
) -> list[tuple[list[str], int]]:
    """The rows of a quoted CSV, each with the number of its last line (from 1); skips blank lines.

    Args:
        path: file of the text, for messages.
        text: text of the whole file.
        names: names of the columns.
        advice: advice for malformed rows, for messages.
        separator: field separator.
        spaced: whether spaces after separators are ignored.

    Raises:
        UserError: if a quote is not closed, or a row has more or fewer fields.
    """
    lines = io.StringIO(text, newline="")
    reader = csv.reader(lines, strict=True, delimiter=separator, skipinitialspace=spaced)
    rows = []
    try:
        for row in reader:
            if len(row) == len(names):
                rows.append((row, reader.line_num))
            elif row:
                raise csv.Error(f"{len(row)} fields")
    except csv.Error as error:
        raise UserError(
            f"{path}:{reader.line_num}: expected {separator.join(names)} with closed quotes and quoted "
            f"commas ({error}); {advice}"
        ) from None
    return rows
