"""RecBole's augmented files, the form of UniSRec's and MISSRec's public sets, as a dump of layout recbole.

`NAME.train.inter`, `NAME.valid.inter` and `NAME.test.inter` hold a target and its history per line
(`prep.readers.histories`). `NAME.item2index` and `NAME.user2index` have the ids of the numbers in these files, and
`NAME.text` (or `NAME.item`) the texts by id. There are no times.
"""

from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from prep.readers.atomic import column_of, open_atomic, title_of
from prep.readers.columns import Sheet
from prep.readers.histories import Joined, interactions, join
from prep.readers.indexes import read_index
from prep.readers.raw import Raw
from prep.readers.table import items_apart
from prep.steps.problems import Problem
from toolkit.errors import UserError
from toolkit.measures import number

BESIDE = {"texts": ".text", "item index": ".item2index", "user index": ".user2index"}
_HISTORY = "_list:token_seq"


def find_beside(stem: Path) -> dict[str, Path]:
    """The files by role that accompany `NAME.train.inter`, for a path `.../NAME` without suffix."""
    paths = {role: stem.with_name(stem.name + suffix) for role, suffix in BESIDE.items()}
    return {role: path for role, path in paths.items() if path.is_file()}


def history_of(sheet: Sheet) -> str | None:
    """The column of histories, or None if each line is an interaction."""
    return next((name for name in sheet.names if name.endswith(_HISTORY)), None)


def read(files: dict[str, Path], logs: list[Sheet], asked: dict[str, str]) -> Raw:
    """Reads the files that `prep.readers.recbole.find` returned.

    Args:
        files: files by role.
        logs: the opened files of targets and histories, in the order train, valid, test.
        asked: column names by role, if they differ from RecBole's names.

    Raises:
        UserError: with file and line, if the files do not agree with each other.
    """
    joined = join([(log, _columns(log, asked)) for log in logs])
    named = {"user": list(joined.sequences), "item": list(_items_of(joined))}
    ids = {role: _ids(files, role, names) for role, names in named.items()}
    texts = files.get("items", files.get("texts"))
    notes = _notes(logs, joined)
    if texts is None:
        items = _items(ids["item"])
    else:
        sheet = open_atomic(texts)
        title, more = title_of(sheet, asked)
        notes += more
        items = items_apart(sheet, {"item": column_of(sheet, asked, "item"), **title})
        if "item index" in files:
            items = _by_index(items, ids["item"], texts, files["item index"])
    log = files["interactions"]
    return Raw(
        items,
        interactions(joined, ids["user"], ids["item"]),
        (texts or log).name,
        log.name,
        tuple(notes),
        items_as_they_come=texts is None and "item index" not in files,
    )


def _columns(log: Sheet, asked: dict[str, str]) -> dict[str, str]:
    history = history_of(log)
    if history is None:
        raise UserError(
            f"{log.path}:1: no column *{_HISTORY}, which other parts of the dump have; use parts of one dataset"
        )
    return {role: column_of(log, asked, role) for role in ("user", "item")} | {"history": history}


def _items_of(joined: Joined) -> dict[str, None]:
    """The items of all sequences as the files name them, in order of appearance."""
    return dict.fromkeys(item for sequence in joined.sequences.values() for item in sequence)


def _ids(files: dict[str, Path], role: str, names: list[str]) -> dict[str, str]:
    """The id of each user or item as the files name it: of the index, in its order, or else the name itself."""
    path = files.get(f"{role} index")
    if path is None:
        return dict(zip(names, names, strict=True))
    index = read_index(path)
    unknown = [name for name in names if name not in index]
    if unknown:
        raise UserError(
            f"{path}: {len(unknown):,} of the {number(len(names), role)} of {files['interactions'].name} have no line "
            f"(e.g. {unknown[0]!r}); use the files of one dataset, or move {path.name} away"
        )
    return index


def _items(ids: dict[str, str]) -> pa.Table:
    """Items without titles, in the order of `ids`."""
    column = pa.array(ids.values(), pa.string())
    line = pa.array(range(1, len(ids) + 1), pa.int64())
    return pa.table({"item_id": column, "title": pa.nulls(len(ids), pa.string()), "line": line})


def _by_index(texts: pa.Table, ids: dict[str, str], path: Path, index: Path) -> pa.Table:
    """The items of an index in its order, with the texts of a file that has them by id or by index.

    Raises:
        UserError: if no item has a text.
    """
    known = texts.column("item_id").combine_chunks()
    items = _items(ids)
    for names in (ids.values(), ids.keys()):
        rows = pc.index_in(pa.array(names, pa.string()), known)
        if rows.null_count < len(rows):
            title = pc.fill_null(texts.column("title").take(rows), "")
            line = pc.fill_null(texts.column("line").take(rows), 1)
            return items.set_column(1, "title", title).set_column(2, "line", line)
    raise UserError(
        f"{path}: none of its ids (e.g. {known[0].as_py()!r}) is an item of {index.name} (e.g. "
        f"{next(iter(ids.values()))!r}); use the files of one dataset"
    )


def _notes(logs: list[Sheet], joined: Joined) -> list[Problem]:
    """What was joined, and that there are no times."""
    parts = ", ".join(log.path.name for log in logs)
    length = sum(map(len, joined.sequences.values()))
    message = (
        f"{parts}: joined in this order to the sequences of {number(len(joined.sequences), 'user')} "
        f"({number(length, 'interaction')}); every history agrees with its user's sequence, the files have no times, and "
        "the split is not kept, because Versa makes its own"
    )
    notes = [Problem(None, "joined_splits", message)]
    if joined.cut:
        message = (
            f"{parts}: the first histories of {number(joined.cut, 'user')} are as long as the longest, so items before "
            "them may be missing"
        )
        notes.append(Problem(None, "cut_histories", message))
    return notes
