"""Tables of the user's own: a CSV or Parquet file of interactions, whose columns the user names.

`columns` says which column is what: `user` and `item` always, `time` and `title` where there are
any. The interactions file is the one that has the columns of user, item and time. Titles stand in
it too, or in a second file, which has the same column of items and no column of users; then that
file says which items there are. Other files are left alone.

A CSV has a header, and commas, semicolons, tabs or bars between its columns; quotes as CSVs have them. A folder of *.parquet is one table, its parts
in the order of their names. Rows are counted from 1, in a CSV with the
header and without blank lines.
"""

import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path

import pyarrow as pa

from prep.config import TimeUnit
from prep.readers.columns import Sheet, is_parquet, open_sheet, read_columns
from prep.readers.raw import Raw
from prep.readers.stream import interactions
from prep.readers.times import Times
from prep.steps.database import create, engine
from prep.steps.problems import Problem
from toolkit.errors import UserError

ROLES = ("user", "item", "time", "title")
_FORM = "user=NAME,item=NAME and, where there are any, time=NAME,title=NAME"


def parse_columns(columns: str | dict[str, str]) -> dict[str, str]:
    """The names of columns by role, in the order of `ROLES`; empty if nothing was said.

    Args:
        columns: such as `user=uid,item=asin`, or the same as a mapping.

    Raises:
        UserError: if it is not of that form, a role is unknown or missing, or a column has two.
    """
    names = parse_roles(columns)
    if not names:
        return {}
    if not {"user", "item"} <= names.keys():
        raise _refused(columns, "user and item must be named, and no name be empty")
    return names


def parse_roles(columns: str | dict[str, str]) -> dict[str, str]:
    """As `parse_columns`, for layouts that know the names of columns: any of the roles may be left out.

    Raises:
        UserError: if it is not of that form, a role is unknown, or a column has two.
    """
    if not columns:
        return {}
    names = columns if isinstance(columns, dict) else _split(columns)
    if names.keys() - set(ROLES):
        wrong = f"{sorted(names.keys() - set(ROLES))[0]!r} is none of {', '.join(ROLES)}"
        raise _refused(columns, wrong)
    if not all(names.values()):
        raise _refused(columns, "user and item must be named, and no name be empty")
    if len(set(names.values())) < len(names):
        raise _refused(columns, "one column cannot be two things")
    return {role: names[role] for role in ROLES if role in names}


def _refused(columns: str | dict[str, str], wrong: str) -> UserError:
    return UserError(f"columns is {columns!r}: {wrong}; give {_FORM}")


def _split(columns: str) -> dict[str, str]:
    pairs = [part.partition("=")[::2] for part in columns.split(",")]
    roles = [role.strip() for role, _ in pairs]
    if len(set(roles)) < len(roles):
        raise UserError(f"columns is {columns!r}: something is named twice; give {_FORM}")
    return dict(zip(roles, (name.strip() for _, name in pairs), strict=True))


def find(dump: Path, columns: dict[str, str]) -> dict[str, Path]:
    """The files of interactions and, where they are apart, of titles; nothing without any table.

    Args:
        dump: the folder.
        columns: by role.

    Raises:
        UserError: if no columns are named, or not exactly one file has them.
    """
    paths = sorted(path for path in dump.iterdir() if _is_table(path))
    headers = {path: open_sheet(path, columns.values()).names for path in paths}
    if not headers:
        return {}
    if not columns:
        raise UserError(
            f"{dump}: layout table needs to know the columns ({_found(headers)}); "
            f"give --columns {_FORM}"
        )
    columns = parse_columns(columns)
    wanted = {role: name for role, name in columns.items() if role != "title"}
    log = _only(dump, headers, wanted, list(headers))
    files = {"interactions": log}
    if "title" in columns:
        others = [path for path in paths if path != log and columns["user"] not in headers[path]]
        wanted = {role: columns[role] for role in ("item", "title")}
        apart = [path for path in others if set(wanted.values()) <= set(headers[path])]
        if columns["title"] not in headers[log]:
            files["titles"] = _only(dump, headers, wanted, others)
        elif apart:
            raise UserError(
                f"{dump}: {log.name} and {apart[0].name} both have a column {columns['title']!r}; "
                "move away the file that should not be read, or rename its column"
            )
    for path in files.values():
        refuse_twice(path, headers[path], columns.values())
    return files


def refuse_twice(path: Path, found: list[str], wanted: Iterable[str]) -> None:
    """Lets through names of which each that is wanted stands once.

    Raises:
        UserError: naming the first that comes again.
    """
    for name in wanted:
        if found.count(name) > 1:
            raise UserError(f"{path}: several columns are called {name!r}; rename all but one")


def _is_table(path: Path) -> bool:
    return is_parquet(path) or (path.is_file() and path.suffix.lower() in (".csv", ".tsv"))


def _only(
    dump: Path, headers: dict[Path, list[str]], wanted: dict[str, str], among: list[Path]
) -> Path:
    """The one file that has all wanted columns."""
    named = ", ".join(f"{name!r} ({role})" for role, name in wanted.items())
    fitting = [path for path in among if set(wanted.values()) <= set(headers[path])]
    if not fitting:
        raise UserError(
            f"{dump}: no file has the columns {named}; found {_found(headers)}; mend --columns"
        )
    if len(fitting) > 1:
        names = ", ".join(path.name for path in fitting)
        raise UserError(f"{dump}: several files have the columns {named} ({names}); keep one")
    return fitting[0]


def _found(headers: dict[Path, list[str]]) -> str:
    return "; ".join(f"{path.name}: {', '.join(names)}" for path, names in headers.items())


def read(files: dict[str, Path], *, columns: dict[str, str], time_unit: TimeUnit = "ms") -> Raw:
    """Reads the files that `find` found.

    Args:
        files: by role.
        columns: by role.
        time_unit: of the column of times where it holds whole numbers; Parquet's points in time have theirs.

    Raises:
        UserError: naming file and row, or column, of what cannot be read.
    """
    path = files["interactions"]
    log = open_sheet(path, columns.values())
    if "titles" in files:
        items = items_apart(open_sheet(files["titles"], columns.values()), columns)
        problems = list[Problem]()
    else:
        items, problems = items_of(log, columns)
    return Raw(
        items,
        interactions_of([log], columns, time_unit),
        files.get("titles", path).name,
        path.name,
        tuple(problems),
        items_as_they_come="titles" not in files,
    )


def items_apart(sheet: Sheet, columns: dict[str, str]) -> pa.Table:
    """Items of a file of their own, with titles where `columns` names them."""
    wanted = {role: name for role, name in columns.items() if role in ("item", "title")}
    items = pa.Table.from_batches(list(read_columns(sheet, wanted)))
    if "title" not in wanted:
        items = items.append_column("title", pa.nulls(items.num_rows, pa.string()))
    names = {"item": "item_id"}
    return items.rename_columns([names.get(name, name) for name in items.column_names])


def interactions_of(
    sheets: Iterable[Sheet], columns: dict[str, str], unit: TimeUnit
) -> Iterator[pa.RecordBatch]:
    """The interactions of one table, or of several one after another.

    Args:
        sheets: the files.
        columns: by role.
        unit: of the column of times, where it holds numbers.

    Raises:
        UserError: naming file and row, or column, of what cannot be read.
    """
    wanted = {role: name for role, name in columns.items() if role != "title"}
    for sheet in sheets:
        times = Times(sheet.path, unit)
        for batch in read_columns(sheet, wanted):
            line = batch.column("line")
            read = pa.nulls(batch.num_rows, pa.int64())
            if "time" in columns:
                read = times.read(batch.column("time"), line)
            yield interactions(batch.column("user"), batch.column("item"), read, line)


def items_of(sheet: Sheet, columns: dict[str, str]) -> tuple[pa.Table, list[Problem]]:
    """Items as they first appear among the interactions, each with its first title not empty."""
    path = sheet.path
    wanted = {role: name for role, name in columns.items() if role in ("item", "title")}
    title = "title" if "title" in columns else "NULL"
    with tempfile.TemporaryDirectory() as folder, engine(Path(folder), memory_gib=1) as database:
        # One row an item and title: few, however many interactions there are.
        create(
            database,
            "found",
            f"SELECT item, {title} AS title, min(line) AS line FROM log GROUP BY ALL",
            log=read_columns(sheet, wanted),
        )
        frame = database.sql("FROM found ORDER BY line").df()
    items = frame.drop_duplicates("item")
    told = frame[frame["title"].str.strip() != ""] if "title" in columns else frame[:0]
    first = told.drop_duplicates("item").set_index("item")
    problems = [
        Problem(
            item,
            "other_title",
            f"{path.name}:{line}: item {item!r} has another title than on row "
            f"{first['line'][item]}, which is kept",
        )
        for item, line in told.loc[told.duplicated("item"), ["item", "line"]].to_numpy()
    ]
    titles = first["title"].reindex(items["item"], fill_value="" if "title" in columns else None)
    table = {
        "item_id": pa.array(items["item"], pa.string()),
        "title": pa.array(titles, pa.string()),
        "line": pa.array(items["line"], pa.int64()),
    }
    return pa.table(table), problems
