"""RecBole's atomic files, in which most public data of this field are handed around.

`NAME.inter`: one interaction a line; `NAME.item`: one item a line. Tabs between, a header of `name:type` with the
types token, token_seq, float and float_seq. RecBole's own names are read: user_id, item_id, timestamp; `--columns`
says others, and which column of the items is the title. Ratings and other columns are not read: every line is an
interaction. `.user`, `.kg`, `.link` and `.net` are left alone, and that is reported.

Files that were split beforehand (`NAME.train.inter`, `NAME.valid.inter`, `NAME.test.inter`) are read as one log:
Versa makes its own splits.
"""

from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from prep.config import TimeUnit
from prep.readers.columns import Sheet, open_sheet, read_columns
from prep.readers.headers import simple
from prep.readers.raw import Raw
from prep.readers.table import interactions_of, items_apart, items_of, refuse_twice
from prep.steps.problems import Problem
from toolkit.errors import UserError

NAMES = {"user": "user_id", "item": "item_id", "time": "timestamp"}
_TYPES = ("token", "token_seq", "float", "float_seq")
_SPLITS = ("train", "valid", "test")  # RecBole's order; other names come after them
_UNREAD = (".user", ".kg", ".link", ".net")
# A column of titles, the surest first: these names, then what ends like them.
_TITLES = (
    "title",
    "itemtitle",
    "movietitle",
    "videotitle",
    "producttitle",
    "newstitle",
    "name",
    "itemname",
)
_TITLE_ENDINGS = ("title", "name")
_SECONDS_BELOW = 10**11  # as milliseconds this is March 1973, as seconds the year 5138


def find(dump: Path) -> dict[str, Path]:
    """The dump's files by role, or nothing if it has no `.inter`.

    Raises:
        UserError: if there are several data sets in it.
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
            f"{dump}: several .inter files ({names}), of which one is to be read, or the parts of one split "
            "(NAME.train.inter, ...); move the others away"
        )
    ordered = sorted(paths, key=lambda path: _split_order(path.name))
    files = {"interactions": ordered[0]}
    files |= {f"interactions {number}": path for number, path in enumerate(ordered[1:], start=2)}
    name = splits.pop() if len(paths) > 1 else ordered[0].name.removesuffix(".inter")
    items = sorted(ordered[0].parent.glob("*.item"))
    named = [path for path in items if path.name == f"{name}.item"] or items
    if len(named) > 1:
        told = ", ".join(path.name for path in named)
        raise UserError(f"{dump}: several .item files ({told}) and none is {name}.item; keep one")
    return files | ({"items": named[0]} if named else {})


def _split_order(name: str) -> tuple[int, str]:
    part = name.removesuffix(".inter").rpartition(".")[2]
    return (_SPLITS.index(part) if part in _SPLITS else len(_SPLITS), name)


def read(
    files: dict[str, Path], *, columns: dict[str, str] | None = None, time_unit: TimeUnit = "ms"
) -> Raw:
    """Reads the files that `find` found.

    Args:
        files: by role.
        columns: by role, with or without their types, where they are not RecBole's own.
        time_unit: of the column of times; numbers that cannot be milliseconds of this age are seconds, as RecBole's
            data have them.

    Raises:
        UserError: naming file and row, or column, of what cannot be read.
    """
    asked = columns or {}
    logs = [_opened(path) for role, path in files.items() if role.startswith("interactions")]
    names = _log_columns(logs, asked)
    problems = [*_notes(files, logs, names)]
    unit = _unit(logs[0], names, time_unit)
    if "items" in files:
        sheet = _opened(files["items"])
        title, told = _title(sheet, asked)
        items = items_apart(sheet, {"item": _column(sheet, asked, "item"), **title})
        problems += told
    else:
        items, told = items_of(logs[0], {**names, **_title_in_log(logs[0], asked)})
        items, told = _all_items(logs, names, items, told)
        problems += told
    return Raw(
        items,
        interactions_of(logs, names, unit),
        files.get("items", files["interactions"]).name,
        files["interactions"].name,
        tuple(problems),
        items_as_they_come="items" not in files,
    )


def _opened(path: Path) -> Sheet:
    """A file with the names of its columns as they stand, types included."""
    sheet = open_sheet(path, (), "\t")
    if not any(":" in name and name.rpartition(":")[2] in _TYPES for name in sheet.names):
        raise UserError(
            f"{path}:1: expected a header of RecBole's atomic files, such as user_id:token<TAB>item_id:token, found "
            f"{' '.join(sheet.names)[:80]!r}; for tables of your own give --layout table --columns ..."
        )
    return sheet


def _plain(name: str) -> str:
    """A column's name without its type."""
    head, colon, type_ = name.rpartition(":")
    return head if colon and type_ in _TYPES else name


def _column(sheet: Sheet, asked: dict[str, str], role: str) -> str:
    """The full name of the column of one role.

    Raises:
        UserError: if the file has no such column, or several.
    """
    wanted = _plain(asked.get(role, NAMES.get(role, role)))
    found = [name for name in sheet.names if _plain(name).strip() == wanted]
    if not found:
        raise UserError(
            f"{sheet.path}:1: no column {wanted!r} ({role}); found {', '.join(sheet.names)}; say which it is: "
            f"--columns {role}=NAME"
        )
    refuse_twice(sheet.path, [_plain(name) for name in sheet.names], [wanted])
    return found[0]


def _log_columns(logs: list[Sheet], asked: dict[str, str]) -> dict[str, str]:
    """Columns of users, items and, if there are any, times, which all parts have alike."""
    first = logs[0]
    lists = [name for name in first.names if name.endswith("_list:token_seq")]
    if lists:
        raise UserError(
            f"{first.path}:1: column {lists[0]!r} holds histories, so that every line is a target with what came before "
            "it (RecBole's augmented files); give the .inter file with one interaction a line"
        )
    names = {role: _column(first, asked, role) for role in ("user", "item")}
    if "time" in asked or any(_plain(name) == NAMES["time"] for name in first.names):
        names["time"] = _column(first, asked, "time")
    for log in logs[1:]:
        for name in names.values():
            if name not in log.names:
                raise UserError(
                    f"{log.path}:1: no column {name!r}, which {first.path.name} has; give parts of one data set"
                )
    return names


def _title(sheet: Sheet, asked: dict[str, str]) -> tuple[dict[str, str], list[Problem]]:
    """The column of titles, and what is to be said of the choice."""
    if "title" in asked:
        return {"title": _column(sheet, asked, "title")}, []
    likely = _titles(sheet)
    if not likely:
        told = (
            f"{sheet.path.name}: no column is called like a title (found {', '.join(sheet.names)}); "
            "titles are empty, or say --columns title=NAME"
        )
        return {}, [Problem(None, "title_column", told)]
    if len(likely) == 1:
        return {"title": likely[0]}, []
    told = (
        f"{sheet.path.name}: several columns may be titles ({', '.join(likely)}), and {likely[0]} is read; "
        f"for another one say --columns title={_plain(likely[1])}"
    )
    return {"title": likely[0]}, [Problem(None, "title_column", told)]


def _titles(sheet: Sheet) -> list[str]:
    texts = [name for name in sheet.names if name.rpartition(":")[2] in ("token", "token_seq")]
    exact = [name for title in _TITLES for name in texts if simple(_plain(name)) == title]
    ending = [
        name
        for end in _TITLE_ENDINGS
        for name in texts
        if simple(_plain(name)).endswith(end) and name not in exact
    ]
    return list(dict.fromkeys([*exact, *ending]))


def _title_in_log(log: Sheet, asked: dict[str, str]) -> dict[str, str]:
    return {"title": _column(log, asked, "title")} if "title" in asked else {}


def _all_items(
    logs: list[Sheet], names: dict[str, str], items: pa.Table, told: list[Problem]
) -> tuple[pa.Table, list[Problem]]:
    """Items of the first part and those that only later parts have."""
    for log in logs[1:]:
        more, more_told = items_of(log, names)
        new = more.filter(pc.invert(pc.is_in(more.column("item_id"), items.column("item_id"))))
        items, told = pa.concat_tables([items, new]), [*told, *more_told]
    return items, told


def _unit(log: Sheet, names: dict[str, str], unit: TimeUnit) -> TimeUnit:
    """Seconds where the first numbers are too small to be milliseconds of this age."""
    if "time" not in names or unit != "ms":
        return unit
    first = next(_times(log, names["time"]), None)
    if first is None:
        return unit
    try:
        return "s" if abs(float(first.replace(",", "."))) < _SECONDS_BELOW else unit
    except ValueError:
        return unit  # an ISO time, or what the reader refuses with its line


def _times(log: Sheet, name: str) -> Iterator[str]:
    for batch in read_columns(log, {"time": name}):
        yield from batch.column("time").to_pylist()


def _notes(files: dict[str, Path], logs: list[Sheet], names: dict[str, str]) -> Iterator[Problem]:
    """What of the dump is not read."""
    if len(logs) > 1:
        parts = ", ".join(log.path.name for log in logs)
        yield Problem(
            None,
            "joined_splits",
            f"{parts}: read as one log in this order; their split is not kept, as Versa makes its own by time",
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
                f"{path.name}: not read, as Versa has no use for {path.suffix} files",
            )
