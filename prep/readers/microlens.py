"""Layout microlens: MicroLens as released, with titles, tags, likes and views, and pairs with or without timestamps.

Titles come in two forms: a CSV with a header (50k), or lines without header that are split at the first comma, with
quotes taken literally (100k, 1M). Tags have the second form, with one tag per line. The files lie in the dump or
one folder deeper. Comments are a separate table (`prep.comments`).
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa

from prep.readers.delimited import csv_rows
from prep.readers.files import find_file
from prep.readers.headers import Header, find_header, header_or_none
from prep.readers.ids import trimmed_ids
from prep.readers.raw import Raw, text_of
from prep.readers.stream import LINES_LOOKED_AT, interactions, lines, sequences
from prep.readers.text import first_lines
from prep.readers.times import Times, integers
from prep.steps.problems import Problem
from toolkit.errors import UserError

if TYPE_CHECKING:  # each function imports it: half a second, which decoding processes save
    import pandas as pd

_PAIR = "user,item,timestamp"
_EXCEL_LINE = re.compile(
    r"sep=.", re.IGNORECASE
)  # optional first line that tells Excel the separator


def find(dump: Path) -> dict[str, Path]:
    """The dump's files by role, or an empty dict if it has no titles file of this layout.

    `pairs` is the file with timestamps if there is one.

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
            "nor *_pairs.tsv (user, tab, items split by spaces); add one of them"
        )
    paths = {
        "likes": find_file(dump, "*_likes_and_views.txt"),
        "tags": find_file(dump, "*tags*.csv"),
    }
    extras = {role: path for role, path in paths.items() if path is not None}
    return {"titles": titles, "pairs": pairs, **extras}


def read(files: dict[str, Path]) -> Raw:
    """Reads the files that `find` returned.

    Raises:
        UserError: with file and line of the first error.
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
    """Titles joined with likes, views and tags, and problems for items that only these files have.

    Raises:
        UserError: with file and line of the first error.
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
    """One problem for all items of a file that are not in the titles file."""
    unknown = ids[~ids.isin(known)]
    if unknown.empty:
        return []
    more = (
        f"; an example id in the titles is {known.iloc[0]!r}"
        if len(unknown) == len(ids) and len(known)
        else ""
    )
    message = (
        f"{files[role].name}: {len(unknown):,} items are not in {files['titles'].name} "
        f"(e.g. {unknown.iloc[0]!r}); their {role} left out{more}"
    )
    return [Problem(None, "unknown_item", message)]


def read_titles(path: Path) -> "pd.DataFrame":
    """Titles as columns item_id, title, line (from 1), from files with or without header.

    Raises:
        UserError: if the header or a line cannot be parsed.
    """
    import pandas as pd

    text = text_of(path)
    begin, skipped = text[: 1 << 20].split("\n", LINES_LOOKED_AT)[:LINES_LOOKED_AT], 0
    if _EXCEL_LINE.fullmatch(begin[0].strip()):
        begin, skipped = begin[1:], 1
    header = header_or_none(path, begin, ["item", "title"], form="item,title")
    rows = _headed(path, text, header, skipped) if header else _headless(path, text, "item,title")
    return pd.DataFrame(rows, columns=["item_id", "title", "line"]).astype(
        {"item_id": "str", "title": "str", "line": "int64"}
    )


def _headed(path: Path, text: str, header: Header, skipped: int) -> list[tuple[str, str, int]]:
    advice = "fix the line, or delete the header if lines should be split at the first comma"
    names = [f"column {index + 1}" for index in range(header.width)]
    for role, index in header.columns.items():
        names[index] = role
    item, title = header.columns["item"], header.columns["title"]
    rows = csv_rows(
        path,
        text.split("\n", skipped)[skipped],
        names,
        advice=advice,
        separator=header.separator,
        spaced=header.spaced,
    )
    return [(row[item].strip(), row[title], line + skipped) for row, line in rows[1:]]


def _headless(
    path: Path, text: str, expected: str, *, skipped: int = 0
) -> list[tuple[str, str, int]]:
    """Splits lines at the first comma and adds line numbers; ignores the first `skipped` lines."""
    rows = []
    for number, line in enumerate(text.split("\n")[skipped:], start=1 + skipped):
        item, comma, rest = line.rstrip("\r").partition(",")
        if comma:
            rows.append((item.strip(), rest, number))
        elif item.strip():
            raise UserError(
                f"{path}:{number}: expected {expected}, found {item[:60]!r}; fix the line or delete it"
            )
    return rows


def read_pairs(path: Path) -> Iterator[pa.RecordBatch]:
    """Interactions with timestamps, in the file's order.

    Raises:
        UserError: if the header or a line is not `user,item,timestamp`.
    """
    begin = first_lines(path, 2)
    skipped = int(bool(begin) and _EXCEL_LINE.fullmatch(begin[0].strip()) is not None)
    first = "".join(begin[skipped : skipped + 1]).strip()
    header = find_header(first, ["user", "item", "time"])
    if header is None:
        raise UserError(
            f"{path}:{skipped + 1}: the header is {first[:80]!r}, expected 'user,item,timestamp' or "
            "'userID,videoID,timestamp'; add or rename it"
        )
    times = Times(path, "ms")
    names = ["user", "item", "time"]
    for batch in lines(path, names, sep=",", expected=_PAIR, header=header, skipped=skipped):
        line = batch.column("line")
        read = times.read(batch.column("time"), line)
        yield interactions(batch.column("user"), batch.column("item"), read, line)


def read_likes_and_views(path: Path) -> "pd.DataFrame":
    """Likes and views by item, as columns item_id, likes, views; keeps the first of repeated lines.

    Raises:
        UserError: if a line is not `item<TAB>likes<TAB>views` with integers.
    """
    import pandas as pd

    names = ["item_id", "likes", "views"]
    form, roles = "item<TAB>likes<TAB>views", ["item", "likes", "views"]
    begin = first_lines(path, LINES_LOOKED_AT)
    header = header_or_none(path, begin, roles, form=form, separator="\t")
    if header is not None:
        columns = {name: header.columns[role] for name, role in zip(names, roles, strict=True)}
        header = replace(header, columns=columns)
    batches = list(lines(path, names, sep="\t", expected=form, header=header))
    rows = pa.Table.from_batches(batches).combine_chunks()
    ids = trimmed_ids(rows.column("item_id").combine_chunks())
    frame = pd.DataFrame({"item_id": ids.to_pylist()}, dtype="str")
    for name in ("likes", "views"):
        values, line = (rows.column(key).combine_chunks() for key in (name, "line"))
        counts = integers(path, values, line, f"a whole number of {name}")
        frame[name] = pd.array(counts.to_numpy(), dtype="Int64")
    return frame.drop_duplicates("item_id")


def read_tags(path: Path) -> "pd.DataFrame":
    """Tags by item in the file's order, as columns item_id, tags (lists without repeats).

    Raises:
        UserError: if a line is not `item,tag`.
    """
    import pandas as pd

    tags: dict[str, dict[str, None]] = {}
    text = text_of(path)
    begin = text[: 1 << 20].split("\n", LINES_LOOKED_AT)[:LINES_LOOKED_AT]
    header = header_or_none(path, begin, ["item", "tag"], form="item,tag")
    if header is not None and (header.separator, header.width, header.columns["item"]) != (
        ",",
        2,
        0,
    ):
        raise UserError(
            f"{path}:1: the header is {begin[0].strip()[:80]!r}, expected 'item,tag' (or no header at all); "
            "reorder its columns"
        )
    for item, tag, _ in _headless(path, text, "item,tag", skipped=int(header is not None)):
        known = tags.setdefault(item, {})
        if tag.strip():
            known[tag.strip()] = None
    return pd.DataFrame({"item_id": tags.keys(), "tags": [list(known) for known in tags.values()]})


_EXTRAS: "dict[str, Callable[[Path], pd.DataFrame]]" = {
    "likes": read_likes_and_views,
    "tags": read_tags,
}
