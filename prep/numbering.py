"""From a dump's own ids to numbered tables; what cannot be numbered is told, never dropped in silence."""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from prep.problems import Problem
from prep.readers.raw import Raw
from toolkit import schema
from toolkit.ids import is_safe
from toolkit.splits import MIN_INTERACTIONS


def number_items(raw: Raw) -> tuple[pa.Table, list[Problem]]:
    """Items numbered 1..N in the titles file's order (`toolkit.schema.ITEMS` and extras).

    Left out: an id that comes again, and one that would leave its folder as a file name. Kept but
    told: an empty title. Where the dump has no titles at all, that is told once.
    """
    ids = raw.items.column("item_id").to_pylist()
    titles = raw.items.column("title").to_pylist()
    lines = raw.items.column("line").to_pylist()
    first: dict[str, int] = {}
    kept: list[int] = []
    problems = []
    for row, (id_, title, line) in enumerate(zip(ids, titles, lines, strict=True)):
        where = f"{raw.items_file}:{line}"
        if not is_safe(id_):
            message = f"{where}: item id {id_!r} cannot name a file inside its folder; left out"
            problems.append(Problem(id_, "unsafe", message))
        elif id_ in first:
            message = (
                f"{where}: item {id_!r} stands on line {first[id_]} already; this line left out"
            )
            problems.append(Problem(id_, "duplicate_id", message))
        else:
            first[id_] = line
            kept.append(row)
            if title is not None and not title.strip():
                message = f"{where}: item {id_!r} has an empty title"
                problems.append(Problem(id_, "empty", message))
    if kept and raw.items.column("title").null_count == len(ids):
        message = f"{raw.items_file}: no titles in it; those of all {len(kept)} items are empty"
        problems.append(Problem(None, "no_titles", message))
    return _items_table(raw.items.take(pa.array(kept, pa.int64()))), problems


def _items_table(rows: pa.Table) -> pa.Table:
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


def number_interactions(raw: Raw, items: pa.Table) -> tuple[pa.Table, list[Problem]]:
    """Interactions by user and position (`toolkit.schema.INTERACTIONS`).

    Users are numbered 1..U as they first appear; each user's interactions go by time where there
    are timestamps (equal times as in the file), else as in the file. Left out: interactions with
    an item that is not in `items`. Kept but told: users with fewer than five.
    """
    numbers = pc.index_in(raw.interactions.column("item_id"), items.column("item_id"))
    known = pc.is_valid(numbers)
    problems = _unknown_items(raw, raw.interactions.filter(pc.invert(known)))
    rows = raw.interactions.filter(known)
    users = rows.column("user_id").combine_chunks().dictionary_encode()
    user = users.indices.to_numpy().astype(np.int32) + 1
    order = _by_user_and_time(user, rows.column("timestamp_ms"))
    user = user[order]
    table = pa.table(
        {
            "user_id": rows.column("user_id").take(order),
            "user": user,
            "item": pc.add(numbers.filter(known), 1).cast(pa.int32()).take(order),
            "timestamp_ms": rows.column("timestamp_ms").take(order),
            "position": _positions(user),
        }
    ).cast(schema.INTERACTIONS)
    return table, problems + _few_interactions(raw, rows)


def _by_user_and_time(user: NDArray[np.int32], timestamps: pa.ChunkedArray) -> NDArray[np.int64]:
    if timestamps.null_count:
        return np.argsort(user, kind="stable")
    return np.lexsort((timestamps.to_numpy(), user))


def _positions(user: NDArray[np.int32]) -> NDArray[np.int32]:
    """0, 1, 2, ... within each run of equal users; `user` is sorted."""
    starts = np.searchsorted(user, user, side="left")
    return (np.arange(len(user)) - starts).astype(np.int32)


def _unknown_items(raw: Raw, rows: pa.Table) -> list[Problem]:
    return [
        Problem(
            row["item_id"],
            "unknown_item",
            f"{raw.interactions_file}:{row['line']}: user {row['user_id']!r} has item {row['item_id']!r}, "
            f"which {raw.items_file} does not have or which was left out; this interaction left out",
        )
        for row in rows.to_pylist()
    ]


def _few_interactions(raw: Raw, kept: pa.Table) -> list[Problem]:
    """Users whom the splits will drop, those without any interaction left included."""
    counts = dict.fromkeys(raw.interactions.column("user_id").unique().to_pylist(), 0)
    for entry in kept.column("user_id").value_counts().to_pylist():
        counts[entry["values"]] = entry["counts"]
    return [
        Problem(
            None,
            "too_few_interactions",
            f"{raw.interactions_file}: user {user!r} has {count} interactions with known items, "
            f"fewer than {MIN_INTERACTIONS}; the splits leave this user out",
        )
        for user, count in counts.items()
        if count < MIN_INTERACTIONS
    ]
