"""Parts of a log by user, so that the database groups, joins and sorts a billion interactions in bounded space.

Grouping or joining by user needs a table of all users in memory, and a sort writes every row to disk uncompressed. So a
large log is grouped and joined a slice of its users at a time, and sorted a range of user numbers at a time. A log of less
than `SLICE_ROWS` is one slice.
"""

from collections.abc import Iterator

import numpy as np

from prep.steps.database import Connection, batches, joins_as_written, run

SLICE_ROWS = 1 << 28  # four slices of a billion rows; eight take a quarter more time
RANGE_ROWS = 1 << 25


def slices(log_rows: int) -> list[str]:
    """Conditions on `user_id` that each hold for the rows of a share of the users, and together for every row once.

    Args:
        log_rows: number of rows of the log.
    """
    count = max(1, -(-log_rows // SLICE_ROWS))
    if count == 1:
        return ["true"]
    return [f"hash(user_id) % {count} = {number}" for number in range(count)]


def create_in_slices(connection: Connection, table: str, query: str, slices: list[str]) -> None:
    """Creates a table from the results of a query for each slice.

    Args:
        connection: connection of `prep.steps.database.engine`.
        table: name of the table.
        query: SQL query; `{part}` is the condition of a slice.
        slices: result of `slices`.
    """
    with joins_as_written(connection):
        run(connection, f"CREATE TABLE {table} AS {query.format(part=slices[0])}")
        for part in slices[1:]:
            run(connection, f"INSERT INTO {table} {query.format(part=part)}")


def ranges(connection: Connection) -> Iterator[tuple[int, int]]:
    """First and last number of consecutive users with at most `RANGE_ROWS` interactions, or of a single user.

    Args:
        connection: database with the table `users`.
    """
    query = "SELECT known::INTEGER AS known FROM users WHERE user IS NOT NULL ORDER BY user"
    columns = [batch.column("known").to_numpy() for batch in batches(connection, query)]
    until = np.cumsum(np.concatenate([np.zeros(0, np.int32), *columns]), dtype=np.int64)
    first = 0
    while first < len(until):
        before = int(until[first - 1]) if first else 0
        last = int(np.searchsorted(until, before + RANGE_ROWS, side="right"))
        last = max(last, first + 1)
        yield first + 1, last
        first = last
