"""Layout recbole: RecBole's atomic files, the usual format of public recommendation datasets.

`NAME.inter` has one interaction per line, `NAME.item` one item per line. Columns are separated by tabs. The header
has the form `name:type` with the types token, token_seq, float and float_seq. By default the columns user_id,
item_id and timestamp are read; `--columns` sets other names and the title column of the items. Ratings and other
columns are not read: every line is an interaction. `.user`, `.kg`, `.link` and `.net` files are ignored and
reported.

Split files (`NAME.train.inter`, `NAME.valid.inter`, `NAME.test.inter`) are read as one log, because Versa makes its
own splits. Augmented files, whose lines are targets with their histories, are joined to sequences
(`prep.readers.augmented`).
"""

from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from prep.config import TimeUnit
from prep.readers import augmented
from prep.readers.atomic import NAMES, column_of, open_atomic, plain, title_of
from prep.readers.columns import Sheet, read_columns
from prep.readers.raw import Raw
from prep.readers.table import interactions_of, items_apart, items_of
from prep.steps.problems import Problem
from toolkit.errors import UserError

_SPLITS = ("train", "valid", "test")  # RecBole's order; files with other names follow
_UNREAD = (".user", ".kg", ".link", ".net")
_SECONDS_BELOW = 10**11  # in milliseconds: March 1973; in seconds: the year 5138


def find(dump: Path) -> dict[str, Path]:
    """The dump's files by role, or an empty dict if it has no `.inter` file.

    Raises:
        UserError: if the dump holds several datasets.
    """
    for pattern in ("*.inter", "*/*.inter"):
        paths = sorted(
            path for path in dump.glob(pattern) if path.is_file() and path.name[0] != "."
        )
        if paths:
            return _files(dump, paths)
    return {}


def _files(dump: Path, paths: list[Path]) -> dict[str, Path]:
    stems = {path.name.removesuffix(".inter") for path in paths}
    splits = {stem.rpartition(".")[0] for stem in stems}
    if len(paths) > 1 and (len(splits) > 1 or splits == {""} or len({p.parent for p in paths}) > 1):
        names = ", ".join(str(path.relative_to(dump)) for path in paths)
        raise UserError(
            f"{dump}: several .inter files ({names}), expected one file or the parts of one split "
            "(NAME.train.inter, ...); move the other files away"
        )
    ordered = sorted(paths, key=lambda path: _split_order(path.name))
    files = {"interactions": ordered[0]}
    files |= {f"interactions {number}": path for number, path in enumerate(ordered[1:], start=2)}
    name = splits.pop() if len(paths) > 1 else ordered[0].name.removesuffix(".inter")
    items = sorted(ordered[0].parent.glob("*.item"))
    named = [path for path in items if path.name == f"{name}.item"] or items
    if len(named) > 1:
        names = ", ".join(path.name for path in named)
        raise UserError(
            f"{dump}: several .item files ({names}) but no {name}.item; keep only one of them"
        )
    files |= {"items": named[0]} if named else {}
    return {**augmented.find_beside(ordered[0].parent / name), **files}


def _split_order(name: str) -> tuple[int, str]:
    part = name.removesuffix(".inter").rpartition(".")[2]
    return (_SPLITS.index(part) if part in _SPLITS else len(_SPLITS), name)


def read(
    files: dict[str, Path], *, columns: dict[str, str] | None = None, time_unit: TimeUnit = "ms"
) -> Raw:
    """Reads the files that `find` returned.

    Args:
        files: files by role.
        columns: column names by role, with or without types, if they differ from RecBole's names.
        time_unit: unit of the times. With ms, numbers too small for present-day milliseconds are read as seconds,
            which RecBole's datasets use.

    Raises:
        UserError: with file and row, or column, of the first error.
    """
    asked = columns or {}
    logs = [open_atomic(path) for role, path in files.items() if role.startswith("interactions")]
    if augmented.history_of(logs[0]):
        return augmented.read(files, logs, asked)
    names = _log_columns(logs, asked)
    problems = [*_notes(files, logs, names)]
    unit = _unit(logs[0], names, time_unit)
    if "items" in files:
        sheet = open_atomic(files["items"])
        title, notes = title_of(sheet, asked)
        items = items_apart(sheet, {"item": column_of(sheet, asked, "item"), **title})
        problems += notes
    else:
        items, notes = items_of(logs[0], {**names, **_title_in_log(logs[0], asked)})
        items, notes = _all_items(logs, names, items, notes)
        problems += notes
    return Raw(
        items,
        interactions_of(logs, names, unit),
        files.get("items", files["interactions"]).name,
        files["interactions"].name,
        tuple(problems),
        items_as_they_come="items" not in files,
    )


def _log_columns(logs: list[Sheet], asked: dict[str, str]) -> dict[str, str]:
    """The names of the columns of users, items and optional times, which all parts must share."""
    first = logs[0]
    names = {role: column_of(first, asked, role) for role in ("user", "item")}
    if "time" in asked or any(plain(name) == NAMES["time"] for name in first.names):
        names["time"] = column_of(first, asked, "time")
    for log in logs[1:]:
        for name in names.values():
            if name not in log.names:
                raise UserError(
                    f"{log.path}:1: no column {name!r}, which {first.path.name} has; use parts of one dataset"
                )
    return names


def _title_in_log(log: Sheet, asked: dict[str, str]) -> dict[str, str]:
    return {"title": column_of(log, asked, "title")} if "title" in asked else {}


def _all_items(
    logs: list[Sheet], names: dict[str, str], items: pa.Table, notes: list[Problem]
) -> tuple[pa.Table, list[Problem]]:
    """Items of the first part, followed by items that occur only in later parts."""
    for log in logs[1:]:
        more, more_notes = items_of(log, names)
        new = more.filter(pc.invert(pc.is_in(more.column("item_id"), items.column("item_id"))))
        items, notes = pa.concat_tables([items, new]), [*notes, *more_notes]
    return items, notes


def _unit(log: Sheet, names: dict[str, str], unit: TimeUnit) -> TimeUnit:
    """The time unit: seconds if the first number is too small for present-day milliseconds."""
    if "time" not in names or unit != "ms":
        return unit
    first = next(_times(log, names["time"]), None)
    if first is None:
        return unit
    try:
        return "s" if abs(float(first.replace(",", "."))) < _SECONDS_BELOW else unit
    except ValueError:
        return unit  # an ISO time, or a mistake that the reader reports with its line


def _times(log: Sheet, name: str) -> Iterator[str]:
    for batch in read_columns(log, {"time": name}):
        yield from batch.column("time").to_pylist()


def _notes(files: dict[str, Path], logs: list[Sheet], names: dict[str, str]) -> Iterator[Problem]:
    """Notes on the parts of the dump that are not read."""
    if len(logs) > 1:
        parts = ", ".join(log.path.name for log in logs)
        yield Problem(
            None,
            "joined_splits",
            f"{parts}: read as one log in this order; the split is not kept, because Versa makes its own by time",
        )
    unread = [name for name in logs[0].names if name not in names.values()]
    if unread:
        yield Problem(
            None,
            "not_read",
            f"{logs[0].path.name}: columns {', '.join(unread)} are not read; every line counts as an interaction, "
            "whatever its rating",
        )
    for path in sorted(logs[0].path.parent.iterdir()):
        if path.suffix in _UNREAD and path not in files.values():
            yield Problem(
                None,
                "not_read",
                f"{path.name}: not read, because Versa does not use {path.suffix} files",
            )
