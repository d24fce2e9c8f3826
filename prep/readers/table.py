"""Layout table: a CSV or Parquet file of interactions, with columns that the user names.

`columns` names the column of each role: `user` and `item` are required, `time` and `title` optional. The
interactions file is the file with the columns of user, item and time. Titles are in the same file, or in a second
file with the item column and without the user column; then the second file defines the set of items. Other files
are ignored.

A CSV file has a header, CSV quoting, and commas, semicolons, tabs or bars as separators. A folder of *.parquet files
is one table, with its parts sorted by name. Rows count from 1; in CSV files the header counts and blank lines do not.
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
_FORM = "user=NAME,item=NAME and optionally time=NAME,title=NAME"


def parse_columns(columns: str | dict[str, str]) -> dict[str, str]:
    """The names of columns by role, in the order of `ROLES`; empty if `columns` is empty.

    Args:
        columns: such as `user=uid,item=asin`, or the same as a mapping.

    Raises:
        UserError: if `columns` has another form, a role is unknown or missing, or a column has two roles.
    """
    names = parse_roles(columns)
    if not names:
        return {}
    if not {"user", "item"} <= names.keys():
        raise _refused(columns, "user and item must be named, and no name may be empty")
    return names


def parse_roles(columns: str | dict[str, str]) -> dict[str, str]:
    """As `parse_columns`, for layouts with default names: every role is optional.

    Raises:
        UserError: if `columns` has another form, a role is unknown, or a column has two roles.
    """
    if not columns:
        return {}
    names = columns if isinstance(columns, dict) else _split(columns)
    if names.keys() - set(ROLES):
        unknown = sorted(names.keys() - set(ROLES))[0]
        raise _refused(columns, f"{unknown!r} is not one of {', '.join(ROLES)}")
    if not all(names.values()):
        raise _refused(columns, "user and item must be named, and no name may be empty")
    if len(set(names.values())) < len(names):
        raise _refused(columns, "a column cannot have two roles")
    return {role: names[role] for role in ROLES if role in names}


def _refused(columns: str | dict[str, str], reason: str) -> UserError:
    return UserError(f"columns is {columns!r}: {reason}; give {_FORM}")


def _split(columns: str) -> dict[str, str]:
    pairs = [part.partition("=")[::2] for part in columns.split(",")]
    roles = [role.strip() for role, _ in pairs]
    if len(set(roles)) < len(roles):
        raise UserError(f"columns is {columns!r}: a role is named twice; give {_FORM}")
    return dict(zip(roles, (name.strip() for _, name in pairs), strict=True))


def find(dump: Path, columns: dict[str, str]) -> dict[str, Path]:
    """The files of interactions and, if separate, of titles; an empty dict if the dump has no table.

    Args:
        dump: folder of the dump.
        columns: names of the columns by role.

    Raises:
        UserError: if no columns are named, or not exactly one file has them.
    """
    paths = sorted(path for path in dump.iterdir() if _is_table(path))
    headers = {path: open_sheet(path, columns.values()).names for path in paths}
    if not headers:
        return {}
    if not columns:
        raise UserError(
            f"{dump}: layout table requires the names of the columns ({_listed(headers)}); "
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
                "move one of the files away, or rename its column"
            )
    for path in files.values():
        refuse_twice(path, headers[path], columns.values())
    return files


def refuse_twice(path: Path, names: list[str], wanted: Iterable[str]) -> None:
    """Refuses files in which a wanted column name occurs more than once.

    Raises:
        UserError: with the first such name.
    """
    for name in wanted:
        if names.count(name) > 1:
            raise UserError(f"{path}: several columns are called {name!r}; rename all but one")


def _is_table(path: Path) -> bool:
    return is_parquet(path) or (path.is_file() and path.suffix.lower() in (".csv", ".tsv"))


def _only(
    dump: Path, headers: dict[Path, list[str]], wanted: dict[str, str], among: list[Path]
) -> Path:
    """The only file that has all wanted columns."""
    named = ", ".join(f"{name!r} ({role})" for role, name in wanted.items())
    fitting = [path for path in among if set(wanted.values()) <= set(headers[path])]
    if not fitting:
        raise UserError(
            f"{dump}: no file has the columns {named}; found {_listed(headers)}; correct --columns"
        )
    if len(fitting) > 1:
        names = ", ".join(path.name for path in fitting)
        raise UserError(
            f"{dump}: several files have the columns {named} ({names}); keep only one of them"
        )
    return fitting[0]


def _listed(headers: dict[Path, list[str]]) -> str:
    return "; ".join(f"{path.name}: {', '.join(names)}" for path, names in headers.items())


def read(files: dict[str, Path], *, columns: dict[str, str], time_unit: TimeUnit = "ms") -> Raw:
    """Reads the files that `find` returned.

    Args:
        files: files by role.
        columns: names of the columns by role.
        time_unit: unit of the times if they are numbers; timestamps of Parquet have their own unit.

    Raises:
        UserError: with file and row, or column, of the first error.
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
    """Items from a separate file, with titles if `columns` names them."""
    wanted = {role: name for role, name in columns.items() if role in ("item", "title")}
    items = pa.Table.from_batches(list(read_columns(sheet, wanted)))
    if "title" not in wanted:
        items = items.append_column("title", pa.nulls(items.num_rows, pa.string()))
    names = {"item": "item_id"}
    return items.rename_columns([names.get(name, name) for name in items.column_names])


def interactions_of(
    sheets: Iterable[Sheet], columns: dict[str, str], unit: TimeUnit
) -> Iterator[pa.RecordBatch]:
    """The interactions of one or several tables, in order.

    Args:
        sheets: the files.
        columns: names of the columns by role.
        unit: unit of the times if they are numbers.

    Raises:
        UserError: with file and row, or column, of the first error.
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
    """Items in the order of their first interactions, each with its first non-empty title."""
    path = sheet.path
    wanted = {role: name for role, name in columns.items() if role in ("item", "title")}
    title = "title" if "title" in columns else "NULL"
    with tempfile.TemporaryDirectory() as folder, engine(Path(folder), memory_gib=1) as database:
        # One row per item and title, which is small even for many interactions.
        create(
            database,
            "titles",
            f"SELECT item, {title} AS title, min(line) AS line FROM log GROUP BY ALL",
            log=read_columns(sheet, wanted),
        )
        frame = database.sql("FROM titles ORDER BY line").df()
    items = frame.drop_duplicates("item")
    titled = frame[frame["title"].str.strip() != ""] if "title" in columns else frame[:0]
    first = titled.drop_duplicates("item").set_index("item")
    problems = [
        Problem(
            item,
            "other_title",
            f"{path.name}:{line}: item {item!r} has another title than on row "
            f"{first['line'][item]}, which is kept",
        )
        for item, line in titled.loc[titled.duplicated("item"), ["item", "line"]].to_numpy()
    ]
    titles = first["title"].reindex(items["item"], fill_value="" if "title" in columns else None)
    table = {
        "item_id": pa.array(items["item"], pa.string()),
        "title": pa.array(titles, pa.string()),
        "line": pa.array(items["line"], pa.int64()),
    }
    return pa.table(table), problems
