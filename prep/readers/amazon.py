"""The two-file layout in which the IISAN papers publish their Amazon sets.

`*items*.tsv`: item, tab, title. `*users*.tsv`: user, tab, items split by spaces, in time order,
repeats included. No header, no timestamps, no media; HTML entities in titles stay as they are.
"""

from pathlib import Path

import pyarrow as pa

from prep.files import one_file
from prep.readers.raw import Raw, tab_pairs
from prep.readers.stream import sequences
from toolkit.errors import UserError


def find(dump: Path) -> dict[str, Path]:
    """The two files, or nothing if the dump has no items file of this layout.

    Raises:
        UserError: if one of the two is missing, or comes several times.
    """
    items = one_file(dump, "*items*.tsv")
    users = one_file(dump, "*users*.tsv")
    if items and not users:
        raise UserError(
            f"{dump}: found {items.name} but no *users*.tsv (user, tab, items split by spaces); "
            "put it beside"
        )
    return {"items": items, "users": users} if items and users else {}


def read(files: dict[str, Path]) -> Raw:
    """Reads both files.

    Raises:
        UserError: naming file and line of what cannot be read.
    """
    titles = tab_pairs(
        files["items"], "an item, a tab and its title (files of IDvs.MoRec: --layout morec)"
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
