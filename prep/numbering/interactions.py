"""Numbers and sorts interactions with DuckDB, so that they may be larger than memory.

The tables of one ingest:

    items     item_id, item (its row in the items file, from 1), number (1..N; null if left out)
    dump.log  user_id, item (null if unknown), timestamp_ms, row, line, unknown (item id without a known item)
    counted   user_id, known, seen (first row), first_time, first, last (lines)
    users     user_id, user (1..U, by first time, or else by first row; null if left out),
              known (number of interactions with known items), first, last (lines)
    ordered   user, item (number), timestamp_ms, tie: the interactions that are kept; replaces dump.log
"""

from collections.abc import Iterable, Iterator

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from prep.config import Duplicates, Ties
from prep.numbering.k_core import k_core
from prep.numbering.parts import create_in_slices, ranges, slices
from prep.readers.ids import look_alike, trimmed_ids
from prep.readers.raw import INTERACTIONS, Raw
from prep.steps.database import (
    Connection,
    attach,
    batches,
    create,
    detach,
    rows,
    run,
)
from prep.steps.problems import Problem
from toolkit import schema
from toolkit.console.progress import Progress
from toolkit.cuts import MIN_INTERACTIONS
from toolkit.errors import UserError

SHARD_ROWS = 1_000_000
FEW_KNOWN = 0.5  # a smaller share of interactions with known items indicates wrong files
COMPARED = 1_000  # number of unknown ids to compare with a hundred times as many known ids


class Log:
    """The interactions of one dump in a database.

    Interactions with unknown items are left out and, with a k-core, users and items outside of it. `problems` reports
    both.

    Args:
        database: empty database of `prep.steps.database.engine`.
        raw: result of a reader, whose interactions are read here.
        items: known items, numbered 1..N in order (`toolkit.schema.ITEMS`).
        k_core: minimum number of interactions per user and per item, repeats included. Users and items with fewer
            are removed repeatedly until all have enough. 0 keeps all.
        ties: order of a user's interactions with equal times, or of all interactions if some have no time.
            `file`: the order of the rows. `hash`: a hash of user, item and number of earlier occurrences, so that
            the table does not depend on the order of the file.
        duplicates: whether to keep interactions that repeat the user, item and time of an earlier one.

    Raises:
        UserError: as the reader's batches raise it, or if no interaction has a known item.
    """

    def __init__(
        self,
        database: Connection,
        raw: Raw,
        items: pa.Table,
        *,
        k_core: int = 0,
        ties: Ties = "file",
        duplicates: Duplicates = "keep",
    ) -> None:
        self._database, self._raw, self._k_core, self._ties = database, raw, k_core, ties
        known = items.select(["item_id", "item"]).to_batches()
        create(database, "items", "SELECT item_id, item, item AS number FROM known", known=known)
        attach(database, "dump")
        create(database, "dump.log", _LOG, raw=_with_row(raw.interactions))
        ((count,),) = rows(database, "SELECT count(*) FROM dump.log")
        self._slices = slices(count)
        self._join = self._joined()
        self._dropped = self._drop_duplicates() if duplicates == "drop" else 0
        ((untimed,),) = rows(database, _UNTIMED)
        self._timed = untimed == 0
        # By time if possible, so that the numbers do not depend on the order of the file.
        order = "first_time, user_id" if self._timed else "user_id" if ties == "hash" else "seen"
        create_in_slices(database, "counted", _COUNTED, self._slices)
        run(database, f"CREATE TABLE users AS {_USERS.format(order=order)}")
        run(database, "DROP TABLE counted")
        if k_core:
            _keep_core(database, k_core, self._slices)

    def kept_items(self) -> NDArray[np.int32]:
        """The known items that are kept, ascending."""
        kept = batches(self._database, "SELECT item FROM items WHERE number > 0 ORDER BY item")
        columns = [batch.column("item").to_numpy() for batch in kept]
        return np.concatenate([np.zeros(0, np.int32), *columns])

    def shards(self) -> Iterator[pa.Table]:
        """Yields one or more tables of about `SHARD_ROWS` rows (`toolkit.schema.INTERACTIONS`); once, after `problems`.

        Rows are sorted by user and position. Positions follow the time if every interaction has a timestamp, with
        `ties` deciding for equal times; otherwise `ties` alone decides.
        """
        waiting = [pa.RecordBatch.from_pylist([], schema=schema.INTERACTIONS)]
        for batch in self._sorted():
            waiting.append(batch)
            if sum(batch.num_rows for batch in waiting) >= SHARD_ROWS:
                yield pa.Table.from_batches(waiting)
                waiting = []
        if waiting:
            yield pa.Table.from_batches(waiting)

    def problems(self) -> Iterator[Problem]:
        """Yields problems for left-out rows, and for users that the splits will leave out."""
        yield from self._join
        yield from self._unknown_items()
        if self._dropped:
            message = (
                f"{self._raw.interactions_file}: {self._dropped:,} interactions repeat the user, item and time of an "
                "earlier one; dropped"
            )
            yield Problem(None, "dropped_duplicates", message)
        yield from self._further_lines() if self._raw.a_line_a_user else ()
        yield from self._outside_core() if self._k_core else ()
        yield from self._few_interactions()

    def _sorted(self) -> Iterator[pa.RecordBatch]:
        query = _HASHED if self._ties == "hash" else _NUMBERED
        create_in_slices(self._database, "ordered", query, self._slices)
        detach(self._database, "dump")
        order = "user, timestamp_ms, tie" if self._timed else "user, tie"
        last_user, length = 0, 0
        for first, last in ranges(self._database):
            within = f"WHERE user BETWEEN {first} AND {last}"
            named = f"SELECT user_id FROM users {within} ORDER BY user"
            ids = pa.chunked_array([b.column(0) for b in batches(self._database, named)])
            ids = ids.combine_chunks()
            sorted_rows = f"SELECT user, item, timestamp_ms FROM ordered {within} ORDER BY {order}"
            for batch in batches(self._database, sorted_rows):
                users = batch.column("user").to_numpy()
                position = positions(users) + np.where(users == last_user, length, 0)
                last_user, length = users[-1], position[-1] + 1
                owners = ids.take(pa.array(users - first))
                columns = [owners, *batch.columns, pa.array(position, pa.int32())]
                yield pa.record_batch(columns, schema.INTERACTIONS)

    def _joined(self) -> list[Problem]:
        """Problems of joining interactions with items.

        Raises:
            UserError: if no interaction has a known item.
        """
        ((known, unknown),) = rows(
            self._database, "SELECT count(item), count(unknown) FROM dump.log"
        )
        log, items = self._raw.interactions_file, self._raw.items_file
        if known + unknown == 0:
            raise UserError(f"{log}: contains no interactions; check the file or download it again")
        if unknown == 0:
            return []
        few = known < FEW_KNOWN * (known + unknown)
        alike = self._alike(loosely=few)
        if not few and alike is None:
            return []
        in_log, in_items, why = alike or (*self._examples(), "")
        example = f"{in_log!r} in {log}, {in_items!r} in {items}" + (f", {why}" if why else "")
        if known == 0:
            raise UserError(
                f"{log}: none of its {unknown:,} interactions has an item of {items}; example ids: {example}; "
                "use the same ids in both files, or files of the same release"
            )
        message = (
            f"{log}: {unknown:,} of {known + unknown:,} interactions have items that {items} does not have; "
            f"example ids: {example}"
        )
        return [Problem(None, "most_unknown" if few else "ids_differ", message)]

    def _alike(self, *, loosely: bool) -> tuple[str, str, str] | None:
        unknown = (id_ for (id_,) in rows(self._database, _UNKNOWN.format(limit=COMPARED)))
        known = (id_ for (id_,) in rows(self._database, f"{_KNOWN} LIMIT {100 * COMPARED}"))
        return look_alike(unknown, known, loosely=loosely)

    def _examples(self) -> tuple[str, str]:
        ((unknown,),) = rows(self._database, _UNKNOWN.format(limit=1))
        ((known,),) = rows(self._database, f"{_KNOWN} LIMIT 1")
        return unknown, known

    def _drop_duplicates(self) -> int:
        """Drops all but the first row of each user, item and time; returns the number of dropped rows."""
        ((before,),) = rows(self._database, "SELECT count(*) FROM dump.log")
        for part in self._slices:
            repeats = _LATER_OF_EQUALS.format(part=part)
            run(self._database, f"DELETE FROM dump.log WHERE row IN ({repeats})")
        ((after,),) = rows(self._database, "SELECT count(*) FROM dump.log")
        return int(before - after)

    def _unknown_items(self) -> Iterator[Problem]:
        query = "SELECT user_id, unknown, line FROM dump.log WHERE unknown IS NOT NULL ORDER BY row"
        for user, item, line in rows(self._database, query):
            yield Problem(
                item,
                "unknown_item",
                f"{self._raw.interactions_file}:{line}: user {user!r} has item {item!r}, which "
                f"{self._raw.items_file} does not have or which was left out; interaction left out",
            )

    def _further_lines(self) -> Iterator[Problem]:
        query = """SELECT DISTINCT user_id, line FROM dump.log JOIN users USING (user_id)
            WHERE first < last AND line > first ORDER BY line"""
        for user, line in rows(self._database, query):
            yield Problem(
                None,
                "duplicate_id",
                f"{self._raw.interactions_file}:{line}: user {user!r} has an earlier line; the items of "
                "this line follow those",
            )

    def _outside_core(self) -> Iterator[Problem]:
        ending = f"the {self._k_core}-core; left out"
        for (item,) in rows(
            self._database, "SELECT item_id FROM items WHERE number IS NULL ORDER BY item"
        ):
            message = f"{self._raw.items_file}: item {item!r} is not in {ending}"
            yield Problem(item, "outside_core", message)
        query = "SELECT user_id FROM users WHERE user IS NULL ORDER BY first, user_id"
        for (user,) in rows(self._database, query):
            message = f"{self._raw.interactions_file}: user {user!r} is not in {ending}"
            yield Problem(None, "outside_core", message)

    def _few_interactions(self) -> Iterator[Problem]:
        left_out = "user IS NOT NULL AND" if self._k_core else ""
        query = f"""SELECT user_id, known FROM users
            WHERE {left_out} known < {MIN_INTERACTIONS} ORDER BY first, user_id"""
        for user, count in rows(self._database, query):
            yield Problem(
                None,
                "too_few_interactions",
                f"{self._raw.interactions_file}: user {user!r} has {count} interactions with known "
                f"items, fewer than {MIN_INTERACTIONS}; the splits leave this user out",
            )


_LOG = """
SELECT user_id, item, timestamp_ms, row, line, CASE WHEN item IS NULL THEN item_id END AS unknown
FROM raw LEFT JOIN items USING (item_id)
"""
_COUNTED = """
SELECT user_id, min(row) FILTER (item > 0) AS seen, count(item) AS known,
    min(timestamp_ms) FILTER (item > 0) AS first_time,
    min(line) AS first, max(line) AS last
FROM dump.log WHERE {part} GROUP BY user_id
"""
_USERS = """
SELECT user_id,
    CASE WHEN known > 0 THEN row_number() OVER (ORDER BY known = 0, {order})::INTEGER END AS user,
    known, first, last
FROM counted
"""  # users without a known item come last, so that the others are numbered without a gap
_NUMBERED = """
SELECT u.user, number AS item, timestamp_ms, row AS tie
FROM (FROM dump.log WHERE {part}) log JOIN (FROM users WHERE {part}) u USING (user_id) JOIN items USING (item)
WHERE u.user IS NOT NULL AND number IS NOT NULL
"""
# MD5, because it is identical in every version of DuckDB and elsewhere.
_HASHED = """
SELECT u.user, number AS item, timestamp_ms, md5(concat_ws(chr(31), user_id, item_id, occurrence)) AS tie
FROM (
    SELECT *, row_number() OVER (PARTITION BY user_id, item, timestamp_ms) AS occurrence
    FROM dump.log WHERE item IS NOT NULL AND {part}
) log JOIN (FROM users WHERE {part}) u USING (user_id) JOIN items USING (item)
WHERE u.user IS NOT NULL AND number IS NOT NULL
"""
_UNTIMED = "SELECT count(*) FROM dump.log WHERE item > 0 AND timestamp_ms IS NULL"
_LATER_OF_EQUALS = """
SELECT row FROM (
    SELECT row, row_number() OVER (PARTITION BY user_id, item, timestamp_ms ORDER BY row) AS occurrence
    FROM dump.log WHERE item IS NOT NULL AND timestamp_ms IS NOT NULL AND {part}
) WHERE occurrence > 1
"""
_PAIRS = """
SELECT u.user, item
FROM (FROM dump.log WHERE {part}) log JOIN (FROM users WHERE {part}) u USING (user_id) WHERE item > 0
"""
_UNKNOWN = """
SELECT unknown FROM dump.log WHERE unknown IS NOT NULL GROUP BY unknown ORDER BY min(row) LIMIT {limit}
"""
_KNOWN = "SELECT item_id FROM items ORDER BY item"


def positions(users: NDArray[np.int32]) -> NDArray[np.int64]:
    """Positions 0, 1, 2, ... within each run of equal users; `users` must be sorted.

    >>> positions(np.array([3, 3, 3, 5, 5])).tolist()
    [0, 1, 2, 0, 1]
    """
    return np.arange(len(users)) - np.searchsorted(users, users, side="left")


def _with_row(interactions: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """Adds row numbers from 0 over all batches."""
    first = 0
    with Progress("reading", total=None, unit="interactions") as progress:
        for batch in interactions:
            users, items = (trimmed_ids(batch.column(name)) for name in ("user_id", "item_id"))
            row = pa.array(np.arange(first, first + batch.num_rows))
            columns = [users, items, *batch.columns[2:], row]
            yield pa.record_batch(columns, names=[*INTERACTIONS.names, "row"])
            first += batch.num_rows
            progress.advance(batch.num_rows)


def _keep_core(database: Connection, k: int, slices: list[str]) -> None:
    """Renumbers users and items so that only those of the k-core have a number."""
    ((users, items),) = rows(
        database, "SELECT (SELECT max(user) FROM users), (SELECT count(*) FROM items)"
    )
    create_in_slices(database, "pairs", _PAIRS, slices)

    def pairs() -> Iterator[tuple[NDArray[np.int32], NDArray[np.int32]]]:
        for batch in batches(database, "FROM pairs"):
            yield batch.column("user").to_numpy(), batch.column("item").to_numpy()

    user_counts, item_counts = k_core(pairs, users=users or 0, items=items, k=k)
    for name, counts in {"user": user_counts, "item": item_counts}.items():
        kept = np.flatnonzero(counts).astype(np.int32)
        numbers = np.arange(1, len(kept) + 1, dtype=np.int32)
        core = pa.record_batch({"old": kept, "number": numbers, "known": counts[kept]})
        create(database, f"{name}_core", "FROM core", core=[core])
    run(
        database,
        """CREATE OR REPLACE TABLE items AS SELECT item_id, item, c.number
            FROM items LEFT JOIN item_core c ON item = c.old""",
    )
    run(
        database,
        """CREATE OR REPLACE TABLE users AS SELECT user_id, c.number AS user, c.known, first, last
            FROM users u LEFT JOIN user_core c ON u.user = c.old""",
    )
    run(database, "DROP TABLE pairs")
