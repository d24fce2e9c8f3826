"""Boxes of faces in pictures, from a CSV file with the columns path, x, y, width and height, in pixels."""

import csv
import io
from pathlib import Path

from prep.readers.raw import text_of
from toolkit.errors import UserError

COLUMNS = ("path", "x", "y", "width", "height")
_LARGEST = 2**31 - 1  # in the column of crops
Box = tuple[int, int, int, int]  # left, top, width, height


def read_crops(path: Path) -> dict[str, Box]:
    """The box of each picture, by its path in the folder of pictures.

    Raises:
        UserError: if the file does not exist, lacks a column, has no box, repeats a path, or has a line that is not CSV or
            a box that is no whole numbers, with the line.
    """
    if not path.is_file():
        raise UserError(
            f"{path}: no such file; give a CSV file with the columns {', '.join(COLUMNS)}"
        )
    rows = csv.DictReader(io.StringIO(text_of(path)))
    try:
        boxes = _boxes(rows, path)
    except csv.Error as error:
        raise UserError(
            f"{path}:{rows.line_num}: not a line of CSV ({error}); correct it"
        ) from None
    if not boxes:
        raise UserError(f"{path}: has no box; add one for each picture, or leave out --crops")
    return boxes


def _boxes(rows: "csv.DictReader[str]", path: Path) -> dict[str, Box]:
    missing = [name for name in COLUMNS if name not in (rows.fieldnames or ())]
    if missing:
        raise UserError(f"{path}: column {missing[0]!r} is missing; expected {', '.join(COLUMNS)}")
    boxes: dict[str, Box] = {}
    for line, row in enumerate(rows, start=2):
        name = row["path"]
        if name in boxes:
            raise UserError(
                f"{path}:{line}: repeats the path {name!r}; keep one box for each picture"
            )
        boxes[name] = _box(row, where=f"{path}:{line}")
    return boxes


def _box(row: dict[str, str], *, where: str) -> Box:
    try:
        left, top, width, height = (int(row[name]) for name in COLUMNS[1:])
    except (TypeError, ValueError):
        values = [row[name] for name in COLUMNS[1:]]
        raise UserError(
            f"{where}: expected whole numbers in x, y, width and height, found {values}"
        ) from None
    if any(abs(value) > _LARGEST for value in (left, top, width, height)):
        raise UserError(
            f"{where}: a box of {width}x{height} px at {left}, {top}; expected pixels of a picture"
        )
    if width < 1 or height < 1:
        raise UserError(f"{where}: a box of {width}x{height} px; expected at least 1x1")
    return left, top, width, height
