"""NineRec as released: titles in two languages, and pairs with timestamps or sequences.

`*_item.csv`: id, Chinese title, English title; a CSV without header, so commas and quotes inside a
title are quoted as a CSV quotes them: splitting at commas could not tell where the first title ends.
`*_pair.csv`: three columns without header, whose order differs between the release's description
(user, item, time) and what reads it there (item, user, time). `*_behaviour.tsv` (QB and TN): user,
tab, items split by spaces.
"""

from pathlib import Path

import pandas as pd
import pyarrow as pa

from prep.config import PairColumns, TimeUnit
from prep.problems import Problem
from prep.readers.delimited import csv_rows, milliseconds, plain_columns
from prep.readers.raw import Raw, one_file, sequences, text_of
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
    items = read_items(files["items"])
    problems: list[Problem] = []
    if files["pairs"].suffix == ".csv":
        frame = _pairs(files["pairs"], items, files["items"].name, pair_columns)
        frame["timestamp_ms"] = milliseconds(files["pairs"], frame, "timestamp_ms", time_unit)
        interactions = pa.Table.from_pandas(frame, preserve_index=False)
    else:
        interactions, problems = sequences(files["pairs"])
    return Raw(items, interactions, files["items"].name, files["pairs"].name, tuple(problems))


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


def _pairs(path: Path, items: pa.Table, items_file: str, order: PairColumns) -> pd.DataFrame:
    """The pairs as strings, under their names."""
    frame = plain_columns(path, ["first", "second", "timestamp_ms"], sep=",")
    if order == "auto":
        order = _sniffed(path, frame, set(items.column("item_id").to_pylist()), items_file)
    item, user = ("first", "second") if order == "item-user-time" else ("second", "first")
    return frame.rename(columns={item: "item_id", user: "user_id"})


def _sniffed(path: Path, frame: pd.DataFrame, known: set[str], items_file: str) -> PairColumns:
    first, second = (
        sum(value in known for value in values) / max(len(values), 1)
        for values in (frame["first"].unique(), frame["second"].unique())
    )
    if max(first, second) >= _FITS and min(first, second) < _DIFFERS:
        return "item-user-time" if first > second else "user-item-time"
    raise UserError(
        f"{path}: which column holds the items? Of the values in column 1, {first:.0%} are ids in "
        f"{items_file}, of those in column 2, {second:.0%}, so the file does not tell; look at it and "
        "say --pair_columns item-user-time or --pair_columns user-item-time"
    )
