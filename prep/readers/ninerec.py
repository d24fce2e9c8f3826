"""NineRec as released: titles in two languages, and pairs with timestamps or sequences.

`*_item.csv`: id, Chinese title, English title; a CSV without header, so commas and quotes inside a
title are quoted as a CSV quotes them: splitting at commas could not tell where the first title ends.
`*_pair.csv`: three columns without header, whose order differs between the release's description
(user, item, time) and what reads it there (item, user, time). `*_behaviour.tsv` (QB and TN): user,
tab, items split by spaces.
"""

from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from prep.config import PairColumns, TimeUnit
from prep.files import one_file
from prep.readers.delimited import csv_rows
from prep.readers.raw import Raw, text_of
from prep.readers.stream import interactions, lines, milliseconds, sequences
from toolkit.errors import UserError

# Shares of a column's values that are items: at least so many in the one, fewer than so many in the other.
_FITS, _DIFFERS = 0.9, 0.5


def find(dump: Path) -> dict[str, Path]:
    """The dump's files by role, or nothing if it has no items file of this layout.

    `pairs` is the file with timestamps where there is one.

    Raises:
        UserError: if there are items but no pairs, or several files of one kind.
    """
    items = one_file(dump, "*_item.csv")
    if items is None:
        return {}
    pairs = one_file(dump, "*_pair.csv") or one_file(dump, "*_behaviour.tsv")
    if pairs is None:
        raise UserError(
            f"{dump}: found {items.name} but neither *_pair.csv (item, user and time) "
            "nor *_behaviour.tsv (user, tab, items split by spaces); put one beside"
        )
    return {"items": items, "pairs": pairs}


def read(
    files: dict[str, Path], *, pair_columns: PairColumns = "auto", time_unit: TimeUnit = "ms"
) -> Raw:
    """Reads the files that `find` found.

    Args:
        files: by role.
        pair_columns: order of the columns of the pairs; `auto` takes for items the column whose
            values are in the items file.
        time_unit: of the third column.

    Raises:
        UserError: naming file and line of what cannot be read, or if `auto` cannot tell the columns.
    """
    items, pairs = read_items(files["items"]), files["pairs"]
    if pairs.suffix == ".csv":
        if pair_columns == "auto":
            pair_columns = _sniffed(pairs, items.column("item_id"), files["items"].name)
        interactions, a_line_a_user = read_pairs(pairs, pair_columns, time_unit), False
    else:
        interactions, a_line_a_user = sequences(pairs), True
    return Raw(items, interactions, files["items"].name, pairs.name, a_line_a_user=a_line_a_user)


def read_items(path: Path) -> pa.Table:
    """Titles as columns item_id, title, line (from 1): the English one, else the Chinese one.

    Raises:
        UserError: if a line is not `id,zh,en`.
    """
    advice = "mend the line or delete it"
    rows = csv_rows(path, text_of(path), ["id", "zh", "en"], advice=advice)
    return pa.table(
        {
            "item_id": pa.array([id_.strip() for (id_, _, _), _ in rows], pa.string()),
            "title": pa.array([en if en.strip() else zh for (_, zh, en), _ in rows], pa.string()),
            "line": pa.array([line for _, line in rows], pa.int64()),
        }
    )


def read_pairs(path: Path, order: PairColumns, unit: TimeUnit) -> Iterator[pa.RecordBatch]:
    """Interactions with timestamps, in the file's order.

    Raises:
        UserError: if a line has not three fields, the last of them a whole number.
    """
    item, user = (0, 1) if order == "item-user-time" else (1, 0)
    for batch in _triples(path):
        line = batch.column("line")
        times = milliseconds(path, batch.column("third"), line, unit)
        yield interactions(batch.column(user), batch.column(item), times, line)


def _triples(path: Path) -> Iterator[pa.RecordBatch]:
    names, expected = ["first", "second", "third"], "item,user,time or user,item,time"
    return lines(path, names, sep=",", expected=expected)


def _sniffed(path: Path, known: pa.ChunkedArray, items_file: str) -> PairColumns:
    """Which column holds items, by the first block of the file."""
    block = next(_triples(path))
    first, second = (_share(block.column(name), known) for name in ("first", "second"))
    if max(first, second) >= _FITS and min(first, second) < _DIFFERS:
        return "item-user-time" if first > second else "user-item-time"
    raise UserError(
        f"{path}: which column holds the items? Of the values in column 1, {first:.0%} are ids in "
        f"{items_file}, of those in column 2, {second:.0%}, so the file does not tell; look at it and "
        "say --pair_columns item-user-time or --pair_columns user-item-time"
    )


def _share(values: pa.Array, known: pa.ChunkedArray) -> float:
    """Of the different values, how many are known, in [0, 1]."""
    different = values.unique()
    found = pc.sum(pc.is_in(different, known), min_count=0).as_py()
    return found / max(len(different), 1)
