"""CSV files with quotes that are read whole, with file and line of whatever cannot be read."""

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
    """The rows of a CSV with quotes, each with the line it ends on (from 1); blank lines left out.

    Args:
        path: where the text is from, for messages.
        text: all of it.
        names: of its columns.
        advice: what to do about a row of another form.
        separator: between fields.
        spaced: whether spaces after a separator mean nothing.

    Raises:
        UserError: if a quote stays open, or a row has more or fewer fields.
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
            f"{path}:{reader.line_num}: expected {separator.join(names)} with quotes closed and commas "
            f"quoted ({error}); {advice}"
        ) from None
    return rows
