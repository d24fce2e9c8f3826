"""Layout ninerec: NineRec as released, with titles in two languages, and pairs with timestamps or sequences.

`*_item.csv`: id, Chinese title, English title; a CSV without header. Commas and quotes in titles are quoted, so the
file needs a CSV parser. `*_pair.csv`: three columns without header. Their order differs between the release's
description (user, item, time) and the release's code (item, user, time). `*_behaviour.tsv` (QB and TN): user, tab,
items split by spaces.
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

# Shares of values that are item ids: minimum for the column of items, upper bound for the column of users.
_FITS, _DIFFERS = 0.9, 0.5


def find(dump: Path) -> dict[str, Path]:
    """The dump's files by role, or an empty dict if it has no items file of this layout.

    `pairs` is the file with timestamps if there is one.

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
            "nor *_behaviour.tsv (user, tab, items split by spaces); add one of them"
        )
    return {"items": items, "pairs": pairs}


def read(
    files: dict[str, Path], *, pair_columns: PairColumns = "auto", time_unit: TimeUnit = "ms"
) -> Raw:
    """Reads the files that `find` returned.

    Args:
        files: files by role.
        pair_columns: column order of the pairs; `auto` takes as items the column whose values occur in the items
            file.
        time_unit: unit of the third column.

    Raises:
        UserError: with file and line of the first error, or if `auto` cannot determine the columns.
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


def _named(path: Path, header: Header, configured: PairColumns) -> PairColumns:
    """The column order of `_triples` for a file with a header; refuses a conflicting `pair_columns`."""
    item_first = header.columns["item"] < header.columns["user"]
    order = "item-user-time" if item_first else "user-item-time"
    if configured not in ("auto", order):
        raise UserError(
            f"{path}:1: the header has the order {order}, but --pair_columns is {configured}; omit the option, or "
            "fix the header"
        )
    return "item-user-time"


def read_items(path: Path) -> pa.Table:
    """Titles as columns item_id, title, line (from 1): the English title, or else the Chinese title.

    Raises:
        UserError: if a line is not `id,zh,en`.
    """
    advice, text = "fix the line or delete it", text_of(path)
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
    item, zh, en = (header.columns[role] for role in ("item", "zh", "en"))
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
        UserError: if a line does not have three fields with an integer as the last.
    """
    item, user = (0, 1) if order == "item-user-time" else (1, 0)
    times = Times(path, unit)
    for batch in _triples(path):
        line = batch.column("line")
        read = times.read(batch.column("third"), line)
        yield interactions(batch.column(user), batch.column(item), read, line)


def _triples(path: Path) -> Iterator[pa.RecordBatch]:
    """Yields three columns; with a header, in the order item, user, time."""
    names, expected = ["first", "second", "third"], "item,user,time or user,item,time"
    header = _pairs_header(path)
    if header is not None:
        roles = dict(zip(("item", "user", "time"), names, strict=True))
        header = replace(header, columns={roles[r]: index for r, index in header.columns.items()})
    return lines(path, names, sep=",", expected=expected, header=header)


def _pairs_header(path: Path) -> Header | None:
    begin = first_lines(path, LINES_LOOKED_AT)
    form = "item,user,time or user,item,time"
    header = header_or_none(path, begin[:1], ["item", "user", "time"], form=form)
    last = fields_of(begin[0], ",")[-1].strip() if begin else "0"
    if header is None and not re.match(r"-?\d", last):
        raise UserError(
            f"{path}:1: expected {form}, found {begin[0][:60]!r}; if the line is a header, rename its columns to "
            "item,user,timestamp, otherwise fix the line or delete it"
        )
    return header


def _sniffed(path: Path, known: pa.ChunkedArray, items_file: str) -> PairColumns:
    """Determines which column holds the items from the first block of the file."""
    block = next(_triples(path))
    first, second = (_share(block.column(name), known) for name in ("first", "second"))
    if max(first, second) >= _FITS and min(first, second) < _DIFFERS:
        return "item-user-time" if first > second else "user-item-time"
    raise UserError(
        f"{path}: cannot determine which column holds the items: {first:.0%} of the values in column 1 and "
        f"{second:.0%} of those in column 2 are ids in {items_file}; look at the file and set "
        "--pair_columns item-user-time or --pair_columns user-item-time"
    )


def _share(values: pa.Array, known: pa.ChunkedArray) -> float:
    """Share of the unique values that are known, in [0, 1]."""
    unique = values.unique()
    number = pc.sum(pc.is_in(unique, known), min_count=0).as_py()
    return number / max(len(unique), 1)
