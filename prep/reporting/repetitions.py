"""Interactions with equal user and item, equal user and time, or all three equal."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from prep.reporting.limits import LISTED

Ints = NDArray[np.int64]


@dataclass
class Repetition:
    """Counts of groups of interactions that are equal in some columns.

    Args:
        groups: number of groups.
        interactions: number of interactions in the groups.
        users: number of users with a group.
        listed: the first groups.
    """

    groups: int = 0
    interactions: int = 0
    users: int = 0
    listed: list[dict[str, Any]] = field(default_factory=list)

    def add(self, chunk: pa.Table, order: Ints, same: NDArray[np.bool_]) -> None:
        """Counts the groups of one chunk.

        Args:
            chunk: interactions of complete users.
            order: (R,) candidate rows of the chunk, sorted by user, so that equal rows are adjacent.
            same: (R - 1,) whether a row equals the row before it.
        """
        edges = np.diff(np.concatenate([[0], same.astype(np.int8), [0]]))
        starts, stops = np.flatnonzero(edges == 1), np.flatnonzero(edges == -1) + 1
        rows = order[starts]
        self.groups += len(rows)
        self.interactions += int((stops - starts).sum())
        user = chunk.column("user").to_numpy()[rows]  # ascending
        self.users += int(np.count_nonzero(np.diff(user))) + bool(len(user))
        left = LISTED - len(self.listed)
        first = chunk.select(["user_id", "item", "timestamp_ms"]).take(pa.array(rows[:left]))
        times = (stops - starts)[:left].tolist()
        for row, count in zip(first.to_pylist(), times, strict=True):
            self.listed.append({**row, "interactions": count})

    def facts(self, columns: tuple[str, ...], item_ids: pa.ChunkedArray) -> dict[str, Any]:
        """The counts as JSON, with the dump's item ids; `columns` are equal within each group."""
        listed = [{**row, "item_id": item_ids[row["item"] - 1].as_py()} for row in self.listed]
        listed = [{key: row[key] for key in (*columns, "interactions")} for row in listed]
        return {
            "groups": self.groups,
            "interactions": self.interactions,
            "users": self.users,
            "listed": listed,
        }


def agree(values: NDArray[Any], order: Ints) -> NDArray[np.bool_]:
    """Whether each value in `order` equals the value before it; one element fewer than `order`."""
    return np.asarray(values[order[1:]] == values[order[:-1]])
