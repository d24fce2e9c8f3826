"""What users have interacted with, in time order: of a dataset, or given as lists of item ids.

Histories in a file are read by `models.inputs.history_files`. S users, L inputs, N items, numbered 1..N.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import chain

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from toolkit.dataset import Dataset
from toolkit.errors import UserError
from toolkit.ids import as_ids, as_list
from toolkit.splits import Ints, cut, pairs

AT_LEAST_ONE = "a sequential recommender needs at least one item"


@dataclass(frozen=True)
class Histories:
    """The histories of S users, none of them empty.

    Args:
        user_ids: (S,) strings.
        items: flat item numbers of all users, which `starts` and `stops` cut; the newest last.
        starts: (S,) first entry of each user in `items`.
        stops: (S,) one past the last.
    """

    user_ids: pa.Array
    items: Ints
    starts: NDArray[np.int64]
    stops: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.starts)

    def __getitem__(self, rows: slice) -> "Histories":
        return Histories(self.user_ids[rows], self.items, self.starts[rows], self.stops[rows])

    def inputs(self, length: int) -> Ints:
        """(S, L): the newest L items of each user, left-padded with 0."""
        first = np.maximum(self.starts, self.stops - length)
        return cut(self.items, first, self.stops, width=length)

    def pairs(self) -> tuple[NDArray[np.int64], Ints]:
        """Every interaction as its user's row, from 0, and its item."""
        return pairs(self.items, self.starts, self.stops)


def dataset_histories(dataset: Dataset, users: Iterable[str | int] | None = None) -> Histories:
    """All that the users of a dataset have interacted with.

    Args:
        dataset: whose interactions are read.
        users: ids of the users wanted (`toolkit.ids.as_ids`), each once, in their order; all by default.

    Raises:
        UserError: if one is no id or unknown.
    """
    items, bounds, names = dataset.histories()
    known = pa.array(names, pa.string())
    if users is None:
        return Histories(known, items, bounds[:-1], bounds[1:])
    ids = as_ids(users, what="users", one="user id")
    wanted = pa.array(list(dict.fromkeys(ids)), pa.string())
    rows = pc.index_in(wanted, value_set=known)
    if rows.null_count:
        unknown = wanted[first_true(rows.is_null())].as_py()
        raise UserError(f"user {unknown!r} is not in dataset {dataset.path}")
    places = rows.to_numpy()
    return Histories(wanted, items, bounds[:-1][places], bounds[1:][places])


def list_histories(lists: Sequence[Sequence[str | int]], dataset: Dataset) -> Histories:
    """Histories given as item ids (`toolkit.ids.as_ids`), the newest last; their users are called by their rows.

    Raises:
        UserError: if one is no list or empty, or an item is no id or not in the dataset.
    """
    rows = [
        as_list(one, what=f"history {row}", one="item id", ordered=True)
        for row, one in enumerate(as_list(lists, what="histories", one="list of item id"))
    ]
    lengths = np.array([len(row) for row in rows], dtype=np.int64)
    if not lengths.all():
        raise UserError(f"history {int(np.argmin(lengths))} is empty; {AT_LEAST_ONE}")
    ids = list(chain.from_iterable(rows))
    if not ({*map(type, ids)} <= {str} and all(ids)):
        ids = [
            id_
            for row, one in enumerate(rows)
            for id_ in as_ids(one, what=f"history {row}", one="item id")
        ]
    items = item_numbers(ids, dataset)
    names = pa.array([str(row) for row in range(len(rows))], pa.string())
    stops = np.cumsum(lengths)
    return Histories(names, items, stops - lengths, stops)


def item_numbers(ids: Sequence[str], dataset: Dataset) -> Ints:
    """The numbers of items.

    Raises:
        UserError: if an item is not in the dataset.
    """
    numbers = dataset.item_ids.find(ids)
    if not numbers.all():
        dataset.item_ids.number(ids[int(np.argmin(numbers))])  # says so
    return numbers


def find_items(ids: pa.Array | pa.ChunkedArray, dataset: Dataset) -> Ints:
    """The numbers of items, 0 for ids that the dataset does not have."""
    places = pc.index_in(ids, value_set=dataset.items.column("item_id"))
    return places.fill_null(-1).to_numpy().astype(np.int32) + np.int32(1)


def first_true(flags: pa.Array | pa.ChunkedArray) -> int:
    """The place of the first true value."""
    return int(pc.index(flags, True).as_py())
