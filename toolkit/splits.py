"""Leave-one-out splits over truncated histories, and the three evaluation protocols.

Data as in IISAN and IISAN-Versa (arXiv 2404.02059, 2411.02992): users with at least five
interactions, the last L + 3 of each kept; train on all but the last two of those, validate on the
second to last, test on the last. Items that occur only before the kept part leave the catalogue.
The protocols differ in what is masked when ranking, in nothing else.

S users, L inputs, N items.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal, NamedTuple, TypeVar

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from toolkit.arguments import one_of, whole_number
from toolkit.errors import UserError

Protocol = Literal["paper", "clean", "unmasked"]
MIN_INTERACTIONS = 5
MAX_LEN = 1 << 16  # of inputs; attention over more fits into no memory
KEPT_BEYOND = 3  # of a history, L + 3 interactions are kept
Ints = NDArray[np.int32]
Number = TypeVar("Number", np.int32, np.int64)


class UserHistories(NamedTuple):
    """The interactions of a dataset, by user. V interactions, U users.

    Args:
        items: (V,) item numbers; a user's are contiguous and in time order.
        bounds: (U + 1,) of each user, the first entry in `items`; the last bound is V.
        user_ids: U ids.
        times: (V,) time of each interaction in milliseconds since 1970; None if they were not read.
    """

    items: Ints
    bounds: NDArray[np.int64]
    user_ids: list[str]
    times: NDArray[np.int64] | None = None


@dataclass(frozen=True)
class Evaluation:
    """What one split asks of a model: continue `inputs`, rank `targets`, leaving `masked` out.

    Args:
        inputs: (S, L) item numbers, left-padded with 0.
        targets: (S,) item numbers.
        history: flat item numbers of all users, which `starts` and `stops` cut.
        starts: (S,) first masked entry of each user in `history`.
        stops: (S,) one past the last.
        target_can_repeat: whether a target that stands among its own user's masked items is
            ranked all the same (`clean`) or can never hit, its rank being infinite (`paper`).
        times: flat times of `history` in milliseconds; None if they were not read.
        input_times: (S, L) times of `inputs`, 0 at padding; None if they were not read.
    """

    inputs: Ints
    targets: Ints
    history: Ints
    starts: NDArray[np.int64]
    stops: NDArray[np.int64]
    target_can_repeat: bool
    times: NDArray[np.int64] | None = None
    input_times: NDArray[np.int64] | None = None

    def __len__(self) -> int:
        return len(self.targets)

    def masked(self, rows: NDArray[np.int64]) -> Ints:
        """(rows, H) item numbers left out of each user's ranking, 0 where there are fewer than H.

        A matrix as wide as the longest of these histories: for a few users. `masked_pairs` is for many.
        """
        return cut(self.history, self.starts[rows], self.stops[rows])

    def masked_pairs(self, rows: NDArray[np.int64]) -> tuple[NDArray[np.int64], Ints]:
        """What is left out of these users' rankings, each item once a user, in as much memory as there are pairs.

        Returns:
            (P,) indices into `rows`, ascending, and (P,) item numbers.
        """
        users, items = pairs(self.history, self.starts[rows], self.stops[rows])
        width = int(items.max(initial=0)) + 1
        keys = np.unique(users * width + items)
        return keys // width, (keys % width).astype(np.int32)


@dataclass(frozen=True)
class Splits:
    """The truncated data of one dataset, cut into train, valid and test.

    Args:
        protocol: what ranking masks.
        user_ids: S ids, in the order of every array below.
        train: (S, L + 1) item numbers, left-padded with 0: inputs and next items.
        valid: second to last interaction of each user.
        test: last interaction of each user.
        catalogue: (C,) item numbers of the truncated data, ascending; the same in every protocol.
        train_counts: (N + 1,) how often each item occurs in `train`; index 0 is 0.
        interactions: how many interactions the truncated data hold.
        train_times: (S, L + 1) times of `train` in milliseconds, 0 at padding; None if they were not read.
    """

    protocol: Protocol
    user_ids: list[str]
    train: Ints
    valid: Evaluation
    test: Evaluation
    catalogue: Ints
    train_counts: NDArray[np.int64]
    interactions: int
    train_times: NDArray[np.int64] | None = None

    def __repr__(self) -> str:
        return (
            f"Splits({self.protocol!r}, users={len(self.user_ids)}, catalogue={len(self.catalogue)}, "
            f"interactions={self.interactions}, max_len={self.train.shape[1] - 1})"
        )

    def evaluation(self, split: Literal["valid", "test"]) -> Evaluation:
        """The evaluation of one split by name.

        Raises:
            UserError: if there is no split of that name.
        """
        one_of(split, Literal["valid", "test"], name="split")
        return self.valid if split == "valid" else self.test


def make_splits(
    interactions: pa.Table | Iterable[pa.RecordBatch],
    *,
    items: int,
    protocol: Protocol = "paper",
    max_len: int = 10,
) -> Splits:
    """Cuts an interactions table (`toolkit.schema.INTERACTIONS`, sorted by user and position).

    Args:
        interactions: the whole table, or its batches in order, of which one at a time is held;
            `user_id`, `user` and `item` are read. Users with fewer than five rows are left out.
        items: N, how many items the dataset has.
        protocol: `paper` masks the kept history, so that a repeated target can never hit; `clean`
            masks the whole history but the target; `unmasked` masks nothing.
        max_len: L, inputs of the sequence encoder.

    Raises:
        UserError: if the protocol is unknown, max_len is no whole number or out of range, or no user is left.
    """
    refuse_unknown_cut(protocol, max_len)
    return split_histories(
        user_histories(interactions), items=items, protocol=protocol, max_len=max_len
    )


def refuse_unknown_cut(protocol: Protocol, max_len: int) -> None:
    """Refuses what `make_splits` cannot cut by, before anything is read.

    Raises:
        UserError: if the protocol is unknown, or max_len is no whole number or out of range.
    """
    one_of(protocol, Protocol, name="protocol")
    max_len = whole_number(max_len, name="max_len")
    if max_len > MAX_LEN:
        raise UserError(
            f"max_len is {max_len:,}; sequences of more than {MAX_LEN:,} items do not fit"
        )


def split_histories(
    histories: UserHistories, *, items: int, protocol: Protocol = "paper", max_len: int = 10
) -> Splits:
    """Cuts histories, with their times if they have any. Arguments and errors are those of `make_splits`."""
    refuse_unknown_cut(protocol, max_len)
    refuse_no_interactions(histories)
    history, bounds, names, times = histories
    lengths = np.diff(bounds)
    enough = lengths >= MIN_INTERACTIONS
    if not enough.any():
        raise UserError(
            f"no user has {MIN_INTERACTIONS} interactions or more (users: {len(lengths)}, "
            f"longest: {lengths.max(initial=0)}); nothing can be trained on this dataset"
        )
    starts, stops = bounds[:-1][enough], bounds[1:][enough]
    kept = np.maximum(starts, stops - (max_len + KEPT_BEYOND))
    train = cut(history, kept, stops - 2, width=max_len + 1)
    first_masked = {"paper": kept, "clean": starts}.get(protocol)

    def evaluation(target: NDArray[np.int64]) -> Evaluation:
        first = np.maximum(kept, target - max_len)
        return Evaluation(
            inputs=cut(history, first, target, width=max_len),
            targets=history[target],
            history=history,
            starts=target if first_masked is None else first_masked,
            stops=target,
            target_can_repeat=protocol != "paper",
            times=times,
            input_times=None if times is None else cut(times, first, target, width=max_len),
        )

    return Splits(
        protocol=protocol,
        user_ids=[name for name, keep in zip(names, enough, strict=True) if keep],
        train=train,
        valid=evaluation(stops - 2),
        test=evaluation(stops - 1),
        catalogue=np.flatnonzero(_occurring(history, kept, stops, items)).astype(np.int32),
        train_counts=_counts(train, items),
        interactions=int((stops - kept).sum()),
        train_times=None if times is None else cut(times, kept, stops - 2, width=max_len + 1),
    )


def cut(
    flat: NDArray[Number],
    starts: NDArray[np.int64],
    stops: NDArray[np.int64],
    *,
    width: int | None = None,
) -> NDArray[Number]:
    """`flat[starts[r]:stops[r]]` as the end of row r of a matrix, left-padded with 0.

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
    matrix = np.zeros((len(starts), width), dtype=flat.dtype)
    for rows in _blocks(len(starts)):  # places take four times the matrix's memory
        places = stops[rows, None] - width + np.arange(width)
        inside = places >= starts[rows, None]
        matrix[rows][inside] = flat[places[inside]]
    return matrix


def pairs(
    flat: Ints, starts: NDArray[np.int64], stops: NDArray[np.int64]
) -> tuple[NDArray[np.int64], Ints]:
    """The values of `flat[starts[r]:stops[r]]` one after the other, and the r of each.

    >>> rows, values = pairs(np.array([7, 8, 9], dtype=np.int32), np.array([2, 0]), np.array([3, 2]))
    >>> rows.tolist(), values.tolist()
    ([0, 1, 1], [9, 7, 8])
    """
    lengths = stops - starts
    rows = np.repeat(np.arange(len(starts)), lengths)
    first = np.cumsum(lengths) - lengths  # of each row among the values
    return rows, flat[np.arange(len(rows)) + (starts - first)[rows]]


def _blocks(rows: int, size: int = 1 << 18) -> Iterator[slice]:
    return (slice(start, start + size) for start in range(0, rows, size))


def _occurring(
    history: Ints, starts: NDArray[np.int64], stops: NDArray[np.int64], items: int
) -> NDArray[np.bool_]:
    """(N + 1,) whether an item is in any of the half-open ranges."""
    seen = np.zeros(items + 1, dtype=bool)
    for rows in _blocks(len(starts)):
        seen[cut(history, starts[rows], stops[rows])] = True
    seen[0] = False  # the padding of `cut`
    return seen


def _counts(matrix: Ints, items: int) -> NDArray[np.int64]:
    """(N + 1,) how often each item is in a matrix; 0 for padding."""
    counts = np.zeros(items + 1, dtype=np.int64)
    for rows in _blocks(len(matrix)):
        counts += np.bincount(matrix[rows].ravel(), minlength=items + 1)
    counts[0] = 0
    return counts


def refuse_no_interactions(histories: UserHistories) -> None:
    """Refuses histories without an interaction.

    Raises:
        UserError: if there are none.
    """
    if not len(histories.items):
        raise UserError("the interactions table is empty; ingest a dump with interactions first")


def user_histories(interactions: pa.Table | Iterable[pa.RecordBatch]) -> UserHistories:
    """Every user's items in time order.

    Args:
        interactions: as `make_splits` takes them.

    Raises:
        UserError: if they are not sorted by user.
    """
    batches = interactions.to_batches() if isinstance(interactions, pa.Table) else interactions
    items: list[Ints] = [np.zeros(0, dtype=np.int32)]
    firsts: list[NDArray[np.int64]] = [np.zeros(0, dtype=np.int64)]
    names: list[str] = []
    rows, last = 0, 0
    for batch in batches:
        users = batch.column("user").to_numpy()
        steps = np.diff(users, prepend=np.int32(last))
        if (steps < 0).any():
            raise UserError(
                "interactions are not sorted by user; write them again with prep ingest"
            )
        first = np.flatnonzero(steps)
        items.append(batch.column("item").to_numpy().copy())  # not the batch's memory
        firsts.append(first + rows)
        names += batch.column("user_id").take(pa.array(first)).to_pylist()
        rows, last = rows + len(users), users[-1] if len(users) else last
    return UserHistories(np.concatenate(items), np.append(np.concatenate(firsts), rows), names)
