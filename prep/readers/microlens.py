"""MicroLens as released: titles, pairs with or without timestamps, likes and views.

Titles come in two forms: a CSV with a header (50k), or headless lines to be split at their first
comma, quotes meaning nothing (100k, 1M).
"""

from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pyarrow as pa

from prep.readers.delimited import csv_rows, integers, plain_columns
from prep.readers.raw import Raw, one_file, text_of
from prep.readers.stream import interactions, lines, milliseconds, sequences
from toolkit.errors import UserError

PAIRS_HEADERS = (["user", "item", "timestamp"], ["userID", "videoID", "timestamp"])
_PAIR = "user,item,timestamp"
_ITEM_NAMES = {"item", "itemid", "item_id", "video", "videoid", "video_id", "id"}


def find(dump: Path) -> dict[str, Path]:
    """The dump's files by role, or nothing if it has no titles file of this layout.

    `pairs` is the file with timestamps where there is one.

    Raises:
        UserError: if there are titles but no pairs, or several files of one kind.
    """
    titles = one_file(dump, "*title*.csv")
    if titles is None:
        return {}
    pairs = one_file(dump, "*_pairs.csv") or one_file(dump, "*_pairs.tsv")
    if pairs is None:
        raise UserError(
            f"{dump}: found {titles.name} but neither *_pairs.csv (user,item,timestamp) "
            "nor *_pairs.tsv (user, tab, items split by spaces); put one beside"
        )
    likes = one_file(dump, "*_likes_and_views.txt")
    return {"titles": titles, "pairs": pairs} | ({"likes": likes} if likes else {})


def read(files: dict[str, Path]) -> Raw:
    """Reads the files that `find` found.

    Raises:
        UserError: naming file and line of what cannot be read.
    """
    items = read_titles(files["titles"])
    if "likes" in files:
        counts = read_likes_and_views(files["likes"])
        items = items.merge(counts, on="item_id", how="left")
    table, pairs = pa.Table.from_pandas(items, preserve_index=False), files["pairs"]
    timed = pairs.suffix == ".csv"
    return Raw(
        table,
        read_pairs(pairs) if timed else sequences(pairs),
        files["titles"].name,
        pairs.name,
        a_line_a_user=not timed,
    )


def read_titles(path: Path) -> pd.DataFrame:
    """Titles as columns item_id, title, line (from 1), headed or not.

    Raises:
        UserError: if the header or a line cannot be understood.
    """
    text = text_of(path)
    first = [word.strip() for word in text.partition("\n")[0].lower().split(",")]
    known = first[0] in _ITEM_NAMES, first[1:] == ["title"]
    if any(known) and not all(known):
        raise UserError(
            f"{path}:1: the header is {','.join(first)!r}, expected 'item,title' (or no header at all); "
            "rename its columns"
        )
    rows = _headed(path, text) if all(known) else _headless(path, text)
    return pd.DataFrame(rows, columns=["item_id", "title", "line"]).astype(
        {"item_id": "str", "title": "str", "line": "int64"}
    )


def _headed(path: Path, text: str) -> list[tuple[str, str, int]]:
    advice = "mend the line, or delete the header if the file is to be split at first commas"
    _, *rows = csv_rows(path, text, ["item", "title"], advice=advice)
    return [(item.strip(), title, line) for (item, title), line in rows]


def _headless(path: Path, text: str) -> list[tuple[str, str, int]]:
    rows = []
    for number, line in enumerate(text.split("\n"), start=1):
        item, comma, title = line.rstrip("\r").partition(",")
        if comma:
            rows.append((item.strip(), title, number))
        elif item.strip():
            raise UserError(
                f"{path}:{number}: expected item,title, found {item[:60]!r}; mend the line or delete it"
            )
    return rows


def read_pairs(path: Path) -> Iterator[pa.RecordBatch]:
    """Interactions with timestamps, in the file's order.

    Raises:
        UserError: if the header or a line is not `user,item,timestamp`.
    """
    with path.open(encoding="utf-8-sig", errors="replace") as file:
        header = file.readline().strip().split(",")
    if header not in PAIRS_HEADERS:
        raise UserError(
            f"{path}:1: the header is {','.join(header)!r}, expected 'user,item,timestamp' or "
            "'userID,videoID,timestamp'; add or rename it"
        )
    for batch in lines(path, ["user", "item", "time"], sep=",", expected=_PAIR, header_lines=1):
        line = batch.column("line")
        times = milliseconds(path, batch.column("time"), line, "ms")
        yield interactions(batch.column("user"), batch.column("item"), times, line)


def read_likes_and_views(path: Path) -> pd.DataFrame:
    """Likes and views by item, as columns item_id, likes, views; the first of repeated lines.

    Raises:
        UserError: if a line is not `item<TAB>likes<TAB>views` with whole numbers.
    """
    frame = plain_columns(path, ["item_id", "likes", "views"], sep="\t")
    for column in ("likes", "views"):
        frame[column] = integers(path, frame, column, f"a whole number of {column}").astype("Int64")
    return frame.drop(columns="line").drop_duplicates("item_id")
