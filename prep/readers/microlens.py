"""MicroLens as released: titles, tags, likes and views, pairs with or without timestamps.

Titles come in two forms: a CSV with a header (50k), or headless lines to be split at their first
comma, quotes meaning nothing (100k, 1M). Tags are such lines too, one tag a line. The files lie in
the dump or one folder deeper. Comments are a table of their own (`prep.comments`).
"""

from collections.abc import Callable, Iterator
from pathlib import Path

import pandas as pd
import pyarrow as pa

from prep.files import find_file
from prep.problems import Problem
from prep.readers.delimited import csv_rows
from prep.readers.raw import Raw, text_of
from prep.readers.stream import integers, interactions, lines, milliseconds, sequences
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
    titles = find_file(dump, "*title*.csv")
    if titles is None:
        return {}
    pairs = find_file(dump, "*_pairs.csv") or find_file(dump, "*_pairs.tsv")
    if pairs is None:
        raise UserError(
            f"{dump}: found {titles.name} but neither *_pairs.csv (user,item,timestamp) "
            "nor *_pairs.tsv (user, tab, items split by spaces); put one beside"
        )
    found = {
        "likes": find_file(dump, "*_likes_and_views.txt"),
        "tags": find_file(dump, "*tags*.csv"),
    }
    extras = {role: path for role, path in found.items() if path is not None}
    return {"titles": titles, "pairs": pairs, **extras}


def read(files: dict[str, Path]) -> Raw:
    """Reads the files that `find` found.

    Raises:
        UserError: naming file and line of what cannot be read.
    """
    items, problems = read_items(files)
    pairs = files["pairs"]
    timed = pairs.suffix == ".csv"
    return Raw(
        items,
        read_pairs(pairs) if timed else sequences(pairs),
        files["titles"].name,
        pairs.name,
        tuple(problems),
        a_line_a_user=not timed,
    )


def read_items(files: dict[str, Path]) -> tuple[pa.Table, list[Problem]]:
    """Titles with what other files say about their items, and what those say about no item of them.

    Raises:
        UserError: naming file and line of what cannot be read.
    """
    items, problems = read_titles(files["titles"]), []
    for role, read_extra in _EXTRAS.items():
        if role in files:
            extra = read_extra(files[role])
            problems += _strangers(extra["item_id"], items["item_id"], files, role)
            items = items.merge(extra, on="item_id", how="left")
    table = pa.Table.from_pandas(items.drop(columns="tags", errors="ignore"), preserve_index=False)
    if "tags" in items:
        tags = [value if isinstance(value, list) else None for value in items["tags"]]
        table = table.append_column("tags", pa.array(tags, pa.list_(pa.string())))
    return table, problems


def _strangers(
    ids: "pd.Series[str]", known: "pd.Series[str]", files: dict[str, Path], role: str
) -> list[Problem]:
    """One problem for all items of a file that the titles do not have."""
    unknown = ids[~ids.isin(known)]
    if unknown.empty:
        return []
    message = (
        f"{files[role].name}: {len(unknown):,} items that {files['titles'].name} does not have "
        f"(e.g. {unknown.iloc[0]!r}); their {role} left out"
    )
    return [Problem(None, "unknown_item", message)]


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
    rows = _headed(path, text) if all(known) else _headless(path, text, "item,title")
    return pd.DataFrame(rows, columns=["item_id", "title", "line"]).astype(
        {"item_id": "str", "title": "str", "line": "int64"}
    )


def _headed(path: Path, text: str) -> list[tuple[str, str, int]]:
    advice = "mend the line, or delete the header if the file is to be split at first commas"
    _, *rows = csv_rows(path, text, ["item", "title"], advice=advice)
    return [(item.strip(), title, line) for (item, title), line in rows]


def _headless(path: Path, text: str, expected: str) -> list[tuple[str, str, int]]:
    """Lines split at the first comma, each with its number."""
    rows = []
    for number, line in enumerate(text.split("\n"), start=1):
        item, comma, rest = line.rstrip("\r").partition(",")
        if comma:
            rows.append((item.strip(), rest, number))
        elif item.strip():
            raise UserError(
                f"{path}:{number}: expected {expected}, found {item[:60]!r}; mend the line or delete it"
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
    names = ["item_id", "likes", "views"]
    batches = list(lines(path, names, sep="\t", expected="item<TAB>likes<TAB>views"))
    rows = pa.Table.from_batches(batches).combine_chunks()
    frame = pd.DataFrame({"item_id": rows.column("item_id").to_pylist()}, dtype="str")
    for name in ("likes", "views"):
        values, line = (rows.column(key).combine_chunks() for key in (name, "line"))
        counts = integers(path, values, line, f"a whole number of {name}")
        frame[name] = pd.array(counts.to_numpy(), dtype="Int64")
    return frame.drop_duplicates("item_id")


def read_tags(path: Path) -> pd.DataFrame:
    """Tags by item in the file's order, as columns item_id, tags (lists without repeats).

    Raises:
        UserError: if a line is not `item,tag`.
    """
    tags: dict[str, dict[str, None]] = {}
    for item, tag, _ in _headless(path, text_of(path), "item,tag"):
        known = tags.setdefault(item, {})
        if tag.strip():
            known[tag.strip()] = None
    return pd.DataFrame({"item_id": tags.keys(), "tags": [list(known) for known in tags.values()]})


_EXTRAS: dict[str, Callable[[Path], pd.DataFrame]] = {
    "likes": read_likes_and_views,
    "tags": read_tags,
}
