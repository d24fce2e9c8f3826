"""Tables of the user's own: a CSV or Parquet file of interactions, whose columns the user names.

`columns` says which column is what: `user` and `item` always, `time` and `title` where there are
any. The interactions file is the one that has the columns of user, item and time. Titles stand in
it too, or in a second file, which has the same column of items and no column of users; then that
file says which items there are. Other files are left alone.

A CSV has a header and commas; quotes as CSVs have them. Rows are counted from 1, in a CSV with the
header and without blank lines.
"""

import csv
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet

from prep.config import TimeUnit
from prep.engine import create, engine
from prep.problems import Problem
from prep.readers.raw import Raw
from prep.readers.stream import BLOCK_BYTES, interactions, milliseconds, refuse_other_encoding
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
    if not columns:
        return {}
    names = columns if isinstance(columns, dict) else _split(columns)
    if names.keys() - set(ROLES):
        wrong = f"{sorted(names.keys() - set(ROLES))[0]!r} is none of {', '.join(ROLES)}"
    elif not {"user", "item"} <= names.keys() or not all(names.values()):
        wrong = "user and item must be named, and no name be empty"
    elif len(set(names.values())) < len(names):
        wrong = "one column cannot be two things"
    else:
        return {role: names[role] for role in ROLES if role in names}
    raise UserError(f"columns is {columns!r}: {wrong}; give {_FORM}")


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
    paths = sorted(p for p in dump.iterdir() if p.suffix in (".csv", ".parquet") and p.is_file())
    headers = {path: _header(path) for path in paths}
    if not headers:
        return {}
    if not columns:
        raise UserError(
            f"{dump}: layout table needs to know the columns ({_found(headers)}); "
            f"give --columns {_FORM}"
        )
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
        for name in columns.values():
            if headers[path].count(name) > 1:
                raise UserError(f"{path}: several columns are called {name!r}; rename all but one")
    return files


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


def _header(path: Path) -> list[str]:
    """The names of a file's columns."""
    if path.suffix == ".csv":
        with path.open(encoding="utf-8-sig", errors="replace", newline="") as file:
            try:
                return next(csv.reader(file), [])
            except csv.Error as error:
                raise UserError(f"{path}:1: not a CSV file ({error}); move it away") from None
    try:
        return list(pa.parquet.read_schema(path).names)
    except (pa.ArrowException, OSError) as error:
        raise UserError(f"{path}: not a Parquet file ({error}); move it away") from None


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
    if "titles" in files:
        wanted = {role: columns[role] for role in ("item", "title")}
        items = pa.Table.from_batches(list(_columns(files["titles"], wanted)))
        items, problems = items.rename_columns({"item": "item_id"}), list[Problem]()
    else:
        items, problems = _items_of(path, columns)
    items_file = files.get("titles", path).name
    log = _interactions(path, columns, time_unit)
    return Raw(items, log, items_file, path.name, tuple(problems))


def _interactions(
    path: Path, columns: dict[str, str], time_unit: TimeUnit
) -> Iterator[pa.RecordBatch]:
    wanted = {role: name for role, name in columns.items() if role != "title"}
    for batch in _columns(path, wanted):
        line = batch.column("line")
        times = pa.nulls(batch.num_rows, pa.int64())
        if "time" in columns:
            times = _times(path, batch.column("time"), line, time_unit)
        yield interactions(batch.column("user"), batch.column("item"), times, line)


def _times(path: Path, values: pa.Array, line: pa.Array, unit: TimeUnit) -> pa.Array:
    """Milliseconds of whole numbers, or of points in time as Parquet has them."""
    if not pa.types.is_timestamp(values.type):
        return milliseconds(path, values, line, unit)
    if values.null_count:
        place = pc.index(values.is_null(), True).as_py()
        raise UserError(
            f"{path}:{line[place].as_py()}: expected a point in time, found none; "
            "fill it in or delete the row"
        )
    return values.cast(pa.timestamp("ms"), safe=False).cast(pa.int64())


def _items_of(path: Path, columns: dict[str, str]) -> tuple[pa.Table, list[Problem]]:
    """Items as they first appear among the interactions, each with its first title not empty."""
    wanted = {role: name for role, name in columns.items() if role in ("item", "title")}
    title = "title" if "title" in columns else "NULL"
    with tempfile.TemporaryDirectory() as folder, engine(Path(folder), memory_gib=1) as database:
        # One row an item and title: few, however many interactions there are.
        create(
            database,
            "found",
            f"SELECT item, {title} AS title, min(line) AS line FROM log GROUP BY ALL",
            log=_columns(path, wanted),
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


def _columns(path: Path, names: dict[str, str]) -> Iterator[pa.RecordBatch]:
    """Columns as strings under their roles, and line; no id is empty, and no string null."""
    read_file = _read_csv if path.suffix == ".csv" else _read_parquet
    first = 2 if path.suffix == ".csv" else 1
    for raw in read_file(path, list(names.values())):
        found = {"line": pa.array(np.arange(first, first + raw.num_rows))}
        for role, name in names.items():
            column = raw.column(name)
            if role != "time" or not pa.types.is_timestamp(column.type):
                column = pc.fill_null(_strings(path, name, column, role), "")
            if role in ("user", "item"):
                _refuse_empty(path, name, column, first)
            found[role] = column
        first += raw.num_rows
        yield pa.record_batch(found)


def _read_csv(path: Path, names: list[str]) -> Iterator[pa.RecordBatch]:
    try:
        yield from pa.csv.open_csv(
            path,
            read_options=pa.csv.ReadOptions(block_size=BLOCK_BYTES),
            parse_options=pa.csv.ParseOptions(newlines_in_values=True),
            convert_options=pa.csv.ConvertOptions(
                include_columns=names, column_types=dict.fromkeys(names, pa.string())
            ),
        )
    except pa.ArrowInvalid as error:
        refuse_other_encoding(path)
        words = " ".join(str(error).split())
        raise UserError(
            f"{path}: {words}; mend the file, or save it as UTF-8 with commas"
        ) from None


def _read_parquet(path: Path, names: list[str]) -> Iterator[pa.RecordBatch]:
    try:
        yield from pa.parquet.ParquetFile(path).iter_batches(columns=names)
    except (pa.ArrowException, OSError) as error:
        raise UserError(f"{path}: cannot be read ({error}); download it again") from None


def _strings(path: Path, name: str, column: pa.Array, role: str) -> pa.Array:
    """Strings or whole numbers as strings."""
    type_ = column.type.value_type if pa.types.is_dictionary(column.type) else column.type
    texts = pa.types.is_string(type_) or pa.types.is_large_string(type_)
    if not (texts or pa.types.is_integer(type_)):
        expected = "whole numbers" if role == "time" else "strings or whole numbers"
        raise UserError(
            f"{path}: column {name!r} ({role}) has type {type_}, expected {expected}; convert it"
        )
    return column.cast(type_).cast(pa.string())


def _refuse_empty(path: Path, name: str, column: pa.Array, first: int) -> None:
    empty = pc.index(pc.equal(column, ""), True).as_py()
    if empty >= 0:
        raise UserError(
            f"{path}:{first + empty}: nothing in column {name!r}; fill it in or delete the row"
        )
