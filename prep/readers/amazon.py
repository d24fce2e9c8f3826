"""Layout amazon: the two-file layout in which the IISAN papers publish their Amazon datasets.

`*items*.tsv`: item, tab, title. `*users*.tsv`: user, tab, items split by spaces, in time order, repeats included.
The files have no header (a header with these names is skipped), no timestamps and no media. HTML entities in titles
are kept.
"""

from pathlib import Path

import pyarrow as pa

from prep.readers.files import one_file
from prep.readers.headers import header_or_none
from prep.readers.raw import Raw, tab_pairs
from prep.readers.stream import LINES_LOOKED_AT, sequences
from prep.readers.text import first_lines
from toolkit.errors import UserError


def find(dump: Path) -> dict[str, Path]:
    """The two files, or an empty dict if the dump has no items file of this layout.

    Raises:
        UserError: if one of the two is missing, or several files match.
    """
    items = one_file(dump, "*items*.tsv")
    users = one_file(dump, "*users*.tsv")
    if items and not users:
        raise UserError(
            f"{dump}: found {items.name} but no *users*.tsv (user, tab, items split by spaces); "
            "add it"
        )
    return {"items": items, "users": users} if items and users else {}


def read(files: dict[str, Path]) -> Raw:
    """Reads both files.

    Raises:
        UserError: with file and line of the first error.
    """
    path = files["items"]
    header = header_or_none(
        path,
        first_lines(path, LINES_LOOKED_AT),
        ["item", "title"],
        form="item<TAB>title",
        separator="\t",
    )
    if header is not None and (header.separator, header.width, header.columns["item"]) != (
        "\t",
        2,
        0,
    ):
        raise UserError(
            f"{path}:1: the header does not name an item and its title, separated by a tab; reorder the columns"
        )
    titles = tab_pairs(
        path,
        "an item, a tab and its title (files of IDvs.MoRec: --layout morec)",
        header=header is not None,
    )
    items = pa.table(
        {
            "item_id": titles.column("key").cast(pa.string()),
            "title": titles.column("value").cast(pa.string()),
            "line": titles.column("line"),
        }
    )
    users = files["users"]
    return Raw(items, sequences(users), files["items"].name, users.name, a_line_a_user=True)
