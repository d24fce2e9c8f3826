"""Numbers the items of a dump; every row that cannot be numbered is reported as a problem."""

from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from prep.readers.ids import trimmed_ids
from prep.readers.raw import Raw
from prep.steps.problems import Problem
from toolkit import schema
from toolkit.ids import is_safe


def number_items(raw: Raw) -> tuple[pa.Table, list[Problem]]:
    """Items numbered 1..N in the order of the items file (`toolkit.schema.ITEMS` and extras), and problems.

    Repeated ids, and ids that would leave their folder as a file name, are left out. Empty titles are kept and
    reported. If the dump has no titles at all, this is reported once.
    """
    ids = trimmed_ids(raw.items.column("item_id").combine_chunks())
    raw = replace(
        raw, items=raw.items.set_column(raw.items.column_names.index("item_id"), "item_id", ids)
    )
    safe = np.array([is_safe(id_) for id_ in ids.unique().to_pylist()], dtype=bool)
    codes = ids.dictionary_encode().indices.to_numpy()  # in the order of `unique`
    first_of = np.unique(codes, return_index=True)[1]
    first = first_of[codes]
    kept = safe[codes] & (first == np.arange(len(codes)))
    table = numbered(raw.items.filter(pa.array(kept)))
    titles = raw.items.column("title")
    empty = pc.equal(pc.utf8_trim_whitespace(titles), "").fill_null(False).to_numpy()
    problems = [
        _problem(raw, row, int(first[row])) for row in np.flatnonzero(~kept | empty).tolist()
    ]
    if table.num_rows and titles.null_count == len(titles):
        message = f"{raw.items_file}: contains no titles; the titles of all {table.num_rows} items are empty"
        problems.append(Problem(None, "no_titles", message))
    return table, problems


def _problem(raw: Raw, row: int, first: int) -> Problem:
    """The problem of one row, whose id first occurs on row `first`."""
    id_, line = (raw.items.column(name)[row].as_py() for name in ("item_id", "line"))
    where = f"{raw.items_file}:{line}"
    if not is_safe(id_):
        message = f"{where}: item id {id_!r} cannot name a file inside its folder; left out"
        return Problem(id_, "unsafe", message)
    if first < row:
        earlier = raw.items.column("line")[first].as_py()
        message = f"{where}: item {id_!r} repeats the id of line {earlier}; line left out"
        return Problem(id_, "duplicate_id", message)
    return Problem(id_, "empty", f"{where}: item {id_!r} has an empty title")


def numbered(rows: pa.Table) -> pa.Table:
    """Converts rows of items to `toolkit.schema.ITEMS` and extras, numbered 1..N in order."""
    fields = list(schema.ITEMS) + [
        pa.field(name, type_)
        for name, type_ in schema.ITEM_EXTRAS.items()
        if name in rows.schema.names
    ]
    columns = {name: rows.column(name) for name in rows.schema.names} | {
        "item": pa.array(np.arange(1, rows.num_rows + 1, dtype=np.int32)),
        "title": pc.fill_null(rows.column("title"), ""),
    }
    return pa.table({field.name: columns[field.name].cast(field.type) for field in fields}).cast(
        pa.schema(fields)
    )
