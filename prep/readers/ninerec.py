"""NineRec as released: titles in two languages, and pairs with timestamps or sequences.

`*_item.csv`: id, Chinese title, English title; a CSV without header, so commas and quotes inside a
title are quoted as a CSV quotes them: splitting at commas could not tell where the first title ends.
`*_pair.csv`: three columns without header, whose order differs between the release's description
(user, item, time) and what reads it there (item, user, time). `*_behaviour.tsv` (QB and TN): user,
tab, items split by spaces.
"""

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from prep.config import PairColumns, TimeUnit
from prep.readers.delimited import csv_rows
from prep.readers.files import one_file
from prep.readers.headers import Header, fields_of, header_or_none
from prep.readers.raw import Raw, text_of
from prep.readers.stream import LINES_LOOKED_AT, interactions, lines, sequences
from prep.readers.text import first_lines
from prep.readers.times import Times
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
        header = _pairs_header(pairs)
        if header is not None:
            pair_columns = _named(pairs, header, pair_columns)
        elif pair_columns == "auto":
            pair_columns = _sniffed(pairs, items.column("item_id"), files["items"].name)
        interactions, a_line_a_user = read_pairs(pairs, pair_columns, time_unit), False
    else:
        interactions, a_line_a_user = sequences(pairs), True
    return Raw(items, interactions, files["items"].name, pairs.name, a_line_a_user=a_line_a_user)


def _named(path: Path, header: Header, told: PairColumns) -> PairColumns:
    """The order in which a header names the columns, as `_triples` then gives them."""
    item_first = header.places["item"] < header.places["user"]
    order = "item-user-time" if item_first else "user-item-time"
    if told not in ("auto", order):
        raise UserError(
            f"{path}:1: the header names the columns as {order}, and --pair_columns says {told}; leave it out, or "
            "mend the header"
        )
    return "item-user-time"


def read_items(path: Path) -> pa.Table:
    """Titles as columns item_id, title, line (from 1): the English one, else the Chinese one.

    Raises:
        UserError: if a line is not `id,zh,en`.
    """
    advice, text = "mend the line or delete it", text_of(path)
    begin = text[: 1 << 20].split("\n", LINES_LOOKED_AT)[:LINES_LOOKED_AT]
    header = header_or_none(path, begin, ["item", "zh", "en"], form="id,zh,en")
    if header is None:
        header, first = Header(",", 3, {"item": 0, "zh": 1, "en": 2}), 0
    else:
        first = 1
    names = (
        ["id", "zh", "en"]
        if header.width == 3
        else [f"column {n + 1}" for n in range(header.width)]
    )
    rows = csv_rows(
        path, text, names, advice=advice, separator=header.separator, spaced=header.spaced
    )[first:]
    item, zh, en = (header.places[role] for role in ("item", "zh", "en"))
    return pa.table(
        {
            "item_id": pa.array([row[item].strip() for row, _ in rows], pa.string()),
            "title": pa.array(
                [row[en] if row[en].strip() else row[zh] for row, _ in rows], pa.string()
            ),
            "line": pa.array([line for _, line in rows], pa.int64()),
        }
    )


def read_pairs(path: Path, order: PairColumns, unit: TimeUnit) -> Iterator[pa.RecordBatch]:
    """Interactions with timestamps, in the file's order.

    Raises:
        UserError: if a line has not three fields, the last of them a whole number.
    """
    item, user = (0, 1) if order == "item-user-time" else (1, 0)
    times = Times(path, unit)
    for batch in _triples(path):
        line = batch.column("line")
        read = times.read(batch.column("third"), line)
        yield interactions(batch.column(user), batch.column(item), read, line)


def _triples(path: Path) -> Iterator[pa.RecordBatch]:
    """Three columns; where a header names them, in the order item, user, time."""
    names, expected = ["first", "second", "third"], "item,user,time or user,item,time"
    header = _pairs_header(path)
    if header is not None:
        roles = dict(zip(("item", "user", "time"), names, strict=True))
        header = replace(header, places={roles[r]: place for r, place in header.places.items()})
    return lines(path, names, sep=",", expected=expected, header=header)


def _pairs_header(path: Path) -> Header | None:
    begin = first_lines(path, LINES_LOOKED_AT)
    form = "item,user,time or user,item,time"
    header = header_or_none(path, begin[:1], ["item", "user", "time"], form=form)
    last = fields_of(begin[0], ",")[-1].strip() if begin else "0"
    if header is None and not re.match(r"-?\d", last):
        raise UserError(
            f"{path}:1: expected {form}, found {begin[0][:60]!r}; if it is a header, name its columns "
            "item,user,timestamp, and else mend the line or delete it"
        )
    return header


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
