"""Layout morec: the files of IDvs.MoRec (MIND, HM, Bili).

`*items*.tsv`: one, two or three columns, separated by tabs and the same on every line: item; item and title;
item, title and abstract (MIND). `*users*.tsv`: user, tab, items split by spaces, in time order. The files have no
header. The abstract is not stored, because no table of a dataset holds it.

The two-file Amazon layout has the same file names. `auto` chooses morec if all lines have three columns or all have
one. Files with two columns read the same in both layouts and are left to `amazon`.
"""

from itertools import islice
from pathlib import Path

import pyarrow as pa

from prep.readers import amazon
from prep.readers.headers import header_or_none
from prep.readers.raw import Raw, text_of
from prep.readers.stream import LINES_LOOKED_AT, sequences
from toolkit.errors import UserError

find = amazon.find  # the same two file names

_COLUMNS = "item; item<TAB>title; or item<TAB>title<TAB>abstract"
_LINES_LOOKED_AT = 1000


def find_certain(dump: Path) -> dict[str, Path]:
    """The two files, if their first lines show that they do not have the Amazon layout.

    Raises:
        UserError: as for `find`.
    """
    files = find(dump)
    return files if files and _widths(files["items"]) in ({1}, {3}) else {}


def _widths(path: Path) -> set[int]:
    """The numbers of columns of the first lines."""
    with path.open(encoding="utf-8-sig", errors="replace", newline="\n") as file:
        lines = (line.rstrip("\r\n") for line in islice(file, _LINES_LOOKED_AT))
        return {line.count("\t") + 1 for line in lines if line}


def read(files: dict[str, Path]) -> Raw:
    """Reads both files.

    Raises:
        UserError: with file and line of the first error.
    """
    items, users = read_items(files["items"]), files["users"]
    return Raw(items, sequences(users), files["items"].name, users.name, a_line_a_user=True)


def read_items(path: Path) -> pa.Table:
    """Items as columns item_id, title (null if the file has only ids), line (from 1).

    Raises:
        UserError: if a line has more than three columns, or another number of columns than the first line.
    """
    lines = [line.rstrip("\r") for line in text_of(path).split("\n")]
    rows = [(number, line.split("\t")) for number, line in enumerate(lines, start=1) if line]
    width = len(rows[0][1])
    roles = ["item", "title", "abstract"][:width] if width <= 3 else ["item"]
    begin = ["\t".join(fields) for _, fields in rows[:LINES_LOOKED_AT]]
    header = header_or_none(path, begin, roles, form=_COLUMNS, separator="\t")
    if header is not None:
        if header.width != width or list(header.columns.values()) != list(range(width)):
            raise UserError(
                f"{path}:1: the header is {begin[0][:80]!r}, expected {_COLUMNS}; reorder its columns"
            )
        rows = rows[1:]
    for number, fields in rows:
        if len(fields) != width or width > 3:
            raise UserError(
                f"{path}:{number}: expected {_COLUMNS}, the same on every line; found {len(fields)} "
                f"columns, but {width} on line {rows[0][0]}; fix the line or delete it"
            )
    return pa.table(
        {
            "item_id": pa.array([fields[0] for _, fields in rows], pa.string()),
            "title": pa.array(
                [fields[1] if width > 1 else None for _, fields in rows], pa.string()
            ),
            "line": pa.array([number for number, _ in rows], pa.int64()),
        }
    )
