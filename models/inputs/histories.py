"""Histories: the items that each user interacted with, in time order, from a dataset or from lists of item ids.

`models.inputs.history_files` reads histories from a file. S users, L inputs, N items, numbered 1..N.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import chain

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from toolkit.dataset import Dataset
from toolkit.errors import UserError
from toolkit.histories import Ints, cut, pairs
from toolkit.ids import as_ids, as_list

AT_LEAST_ONE = "a sequential recommender needs at least one item"


@dataclass(frozen=True)
class Histories:
    """The histories of S users. None is empty.

    Args:
        user_ids: (S,) strings.
        items: concatenated item numbers of all users; the newest item of each user is last.
        starts: (S,) index of each user's first entry in `items`.
        stops: (S,) index after each user's last entry.
        times: times of `items` in milliseconds since 1970; None if they were not read.
        of_dataset: whether `user_ids` are users of the dataset, and the histories theirs.
    """

    user_ids: pa.Array
    items: Ints
    starts: NDArray[np.int64]
    stops: NDArray[np.int64]
    times: NDArray[np.int64] | None = None
    of_dataset: bool = False

    def __len__(self) -> int:
        return len(self.starts)

    def __getitem__(self, rows: slice) -> "Histories":
        starts, stops = self.starts[rows], self.stops[rows]
        return replace(self, user_ids=self.user_ids[rows], starts=starts, stops=stops)

    def inputs(self, length: int) -> Ints:
        """(S, L): the newest L items of each user, left-padded with 0."""
        first = np.maximum(self.starts, self.stops - length)
        return cut(self.items, first, self.stops, width=length)

    def input_times(self, length: int) -> NDArray[np.int64]:
        """(S, L): the times of `inputs`, 0 at padding.

        Raises:
            UserError: if the histories have no times.
        """
        if self.times is None:
            raise UserError(
                "the sequence encoder reads the times of the items, and the histories have none; recommend for users of "
                "the dataset, or from a file with a row per interaction and timestamp_ms"
            )
        first = np.maximum(self.starts, self.stops - length)
        return cut(self.times, first, self.stops, width=length)

    def pairs(self) -> tuple[NDArray[np.int64], Ints]:
        """(V,) user rows, from 0, and (V,) items of all interactions."""
        return pairs(self.items, self.starts, self.stops)


def dataset_histories(
    dataset: Dataset, users: Iterable[str | int] | None = None, *, times: bool = False
) -> Histories:
    """The complete histories of a dataset's users.

    Args:
        dataset: dataset with the interactions.
        users: ids of the users (`toolkit.ids.as_ids`), whose order is kept; duplicates are removed. All users by
            default.
        times: whether to read the time of each interaction.

    Raises:
        UserError: if a user id is invalid or unknown, or if times are wanted and missing.
    """
    items, bounds, names, moments = dataset.histories(times=times)
    known = pa.array(names, pa.string())
    if users is None:
        return Histories(known, items, bounds[:-1], bounds[1:], moments, of_dataset=True)
    ids = as_ids(users, what="users", one="user id")
    wanted = pa.array(list(dict.fromkeys(ids)), pa.string())
    rows = pc.index_in(wanted, value_set=known)
    if rows.null_count:
        unknown = wanted[first_true(rows.is_null())].as_py()
        raise UserError(f"user {unknown!r} is not in dataset {dataset.path}")
    indices = rows.to_numpy()
    starts, stops = bounds[:-1][indices], bounds[1:][indices]
    return Histories(wanted, items, starts, stops, moments, of_dataset=True)


def list_histories(lists: Sequence[Sequence[str | int]], dataset: Dataset) -> Histories:
    """Histories from lists of item ids (`toolkit.ids.as_ids`), the newest last. The user ids are the row numbers.

    Raises:
        UserError: if a history is not a list or is empty, or if an item id is invalid or not in the dataset.
    """
    histories = [
        as_list(history, what=f"history {row}", one="item id", ordered=True)
        for row, history in enumerate(as_list(lists, what="histories", one="list of item id"))
    ]
    lengths = np.array([len(history) for history in histories], dtype=np.int64)
    if not lengths.all():
        raise UserError(f"history {int(np.argmin(lengths))} is empty; {AT_LEAST_ONE}")
    ids = list(chain.from_iterable(histories))
    if not ({*map(type, ids)} <= {str} and all(ids)):
        ids = [
            id_
            for row, history in enumerate(histories)
            for id_ in as_ids(history, what=f"history {row}", one="item id")
        ]
    items = item_numbers(ids, dataset)
    names = pa.array([str(row) for row in range(len(histories))], pa.string())
    stops = np.cumsum(lengths)
    return Histories(names, items, stops - lengths, stops)


def item_numbers(ids: Sequence[str], dataset: Dataset) -> Ints:
    """The item numbers of item ids.

    Raises:
        UserError: if an item is not in the dataset.
    """
    numbers = dataset.item_ids.find(ids)
    if not numbers.all():
        dataset.item_ids.number(ids[int(np.argmin(numbers))])  # raises the error
    return numbers


def find_items(ids: pa.Array | pa.ChunkedArray, dataset: Dataset) -> Ints:
    """The item numbers of item ids, 0 for ids that are not in the dataset."""
    rows = pc.index_in(ids, value_set=dataset.items.column("item_id"))
    return rows.fill_null(-1).to_numpy().astype(np.int32) + np.int32(1)


def first_true(flags: pa.Array | pa.ChunkedArray) -> int:
    """The index of the first true value."""
    return int(pc.index(flags, True).as_py())
