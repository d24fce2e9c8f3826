"""Every user's interactions in time order, and ranges of them.

U users, V interactions.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple, TypeVar

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from toolkit.errors import UserError
from toolkit.large_arrays import Collected, zeros
from toolkit.user_ids import UserIds

Ints = NDArray[np.int32]
Indices = NDArray[np.int64]
Number = TypeVar("Number", np.int32, np.int64)


class UserHistories(NamedTuple):
    """The interactions of a dataset, by user. V interactions, U users.

    Args:
        items: (V,) item numbers; a user's are contiguous and in time order.
        bounds: (U + 1,) of each user, the first entry in `items`; the last bound is V.
        user_ids: U ids; `toolkit.user_ids.UserIds` if they were read from a table.
        times: (V,) time of each interaction in milliseconds since 1970; None if they were not read.
    """

    items: Ints
    bounds: Indices
    user_ids: Sequence[str]
    times: Indices | None = None


def user_histories(interactions: pa.Table | Iterable[pa.RecordBatch]) -> UserHistories:
    """Every user's items in time order; large arrays are mapped (`toolkit.large_arrays`).

    Args:
        interactions: as `toolkit.splits.make_splits` takes them.

    Raises:
        UserError: if they are not sorted by user.
    """
    batches = interactions.to_batches() if isinstance(interactions, pa.Table) else interactions
    items, bounds = Collected(np.int32), Collected(np.int64)
    names: list[pa.Array] = []
    rows, last = 0, 0
    for batch in batches:
        users = batch.column("user").to_numpy()
        steps = np.diff(users, prepend=np.int32(last))
        if (steps < 0).any():
            raise UserError(
                "interactions are not sorted by user; write them again with prep ingest"
            )
        first = np.flatnonzero(steps)
        items.add(batch.column("item").to_numpy())
        bounds.add(first + rows)
        names.append(batch.column("user_id").take(pa.array(first)).cast(pa.string()))
        rows, last = rows + len(users), users[-1] if len(users) else last
    bounds.add(np.array([rows], dtype=np.int64))
    ids = UserIds(pa.chunked_array(names, pa.string()))
    return UserHistories(items.joined(), bounds.joined(), ids)


def refuse_no_interactions(histories: UserHistories) -> None:
    """Refuses histories without an interaction.

    Raises:
        UserError: if there are none.
    """
    if not len(histories.items):
        raise UserError("the interactions table is empty; ingest a dump with interactions first")


def cut(
    flat: NDArray[Number], starts: Indices, stops: Indices, *, width: int | None = None
) -> NDArray[Number]:
    """`flat[starts[r]:stops[r]]` as the end of row r of a matrix, left-padded with 0; mapped if it is large.

    Args:
        flat: values to cut from.
        starts: (R,) half-open ranges' beginnings.
        stops: (R,) their ends; `stops - starts <= width`.
        width: columns of the result; the longest range by default.

    >>> cut(np.array([7, 8, 9], dtype=np.int32), np.array([0, 2]), np.array([2, 3])).tolist()
    [[7, 8], [0, 9]]
    """
    if width is None:
        width = int((stops - starts).max(initial=0))
    matrix: NDArray[Number] = zeros((len(starts), width), flat.dtype)
    for rows in blocks(len(starts)):  # places take four times the matrix's memory
        places = stops[rows, None] - width + np.arange(width)
        inside = places >= starts[rows, None]
        matrix[rows][inside] = flat[places[inside]]
    return matrix


def pairs(flat: Ints, starts: Indices, stops: Indices) -> tuple[Indices, Ints]:
    """The values of `flat[starts[r]:stops[r]]` one after the other, and the r of each.

    >>> rows, values = pairs(np.array([7, 8, 9], dtype=np.int32), np.array([2, 0]), np.array([3, 2]))
    >>> rows.tolist(), values.tolist()
    ([0, 1, 1], [9, 7, 8])
    """
    lengths = stops - starts
    rows = np.repeat(np.arange(len(starts)), lengths)
    first = np.cumsum(lengths) - lengths  # of each row among the values
    return rows, flat[np.arange(len(rows)) + (starts - first)[rows]]


def occurring(history: Ints, starts: Indices, stops: Indices, *, items: int) -> NDArray[np.bool_]:
    """(N + 1,) whether an item is in any of the half-open ranges, which ascend and do not overlap."""
    seen = np.zeros(items + 1, dtype=bool)
    for part, firsts, ends in by_ranges(history, starts, stops):
        seen[part[inside(len(part), firsts, ends)]] = True
    return seen


def by_ranges(
    flat: NDArray[Number], starts: Indices, stops: Indices
) -> Iterator[tuple[NDArray[Number], Indices, Indices]]:
    """Some ranges at a time: their part of the values, and the bounds of each within this part.

    Args:
        flat: values of all interactions.
        starts: (R,) half-open ranges' beginnings; the ranges ascend.
        stops: (R,) their ends.
    """
    for rows in blocks(len(starts)):
        firsts, ends = starts[rows], stops[rows]
        yield flat[firsts[0] : ends[-1]], firsts - firsts[0], ends - firsts[0]


def inside(length: int, starts: Indices, stops: Indices) -> NDArray[np.bool_]:
    """(length,) whether an index is in any of the half-open ranges, which do not overlap and may be empty.

    >>> inside(4, np.array([0, 2, 2]), np.array([1, 2, 4])).tolist()
    [True, False, True, True]
    """
    some = stops > starts
    steps = np.zeros(length + 1, dtype=np.int8)
    steps[starts[some]] += 1
    steps[stops[some]] -= 1
    return np.cumsum(steps[:-1], dtype=np.int8, out=steps[:-1]).view(np.bool_)


def counts_in(matrix: Ints, *, items: int) -> Indices:
    """(N + 1,) how often each item is in a matrix; 0 for padding."""
    counts = np.zeros(items + 1, dtype=np.int64)
    for rows in blocks(len(matrix)):
        counts += np.bincount(matrix[rows].ravel(), minlength=items + 1)
    counts[0] = 0
    return counts


def blocks(rows: int, size: int = 1 << 18) -> Iterator[slice]:
    """Slices of at most `size` rows, in order."""
    return (slice(start, start + size) for start in range(0, rows, size))
