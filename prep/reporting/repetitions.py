"""Interactions that agree with one another in user and item, in user and time, or in all three."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from prep.reporting.limits import LISTED

Ints = NDArray[np.int64]


@dataclass
class Repetition:
    """Interactions that agree in some columns.

    Args:
        groups: how many sets of them there are.
        interactions: how many interactions are in such a set.
        users: how many users have one.
        listed: the first sets.
    """

    groups: int = 0
    interactions: int = 0
    users: int = 0
    listed: list[dict[str, Any]] = field(default_factory=list)

    def add(self, chunk: pa.Table, order: Ints, same: NDArray[np.bool_]) -> None:
        """Counts the sets of one chunk.

        Args:
            chunk: interactions of whole users.
            order: (R,) rows of the chunk that may repeat, those that agree side by side.
            same: (R - 1,) whether a row agrees with the one before it.
        """
        edges = np.diff(np.concatenate([[0], same.astype(np.int8), [0]]))
        starts, stops = np.flatnonzero(edges == 1), np.flatnonzero(edges == -1) + 1
        rows = order[starts]
        self.groups += len(rows)
        self.interactions += int((stops - starts).sum())
        self.users += len(np.unique(chunk.column("user").to_numpy()[rows]))
        room = LISTED - len(self.listed)
        first = chunk.select(["user_id", "item", "timestamp_ms"]).take(pa.array(rows[:room]))
        times = (stops - starts)[:room].tolist()
        for row, count in zip(first.to_pylist(), times, strict=True):
            self.listed.append({**row, "interactions": count})

    def facts(self, columns: tuple[str, ...], item_ids: pa.ChunkedArray) -> dict[str, Any]:
        """As JSON, items under their own ids; `columns` are those in which each set agrees."""
        listed = [{**row, "item_id": item_ids[row["item"] - 1].as_py()} for row in self.listed]
        listed = [{key: row[key] for key in (*columns, "interactions")} for row in listed]
        return {
            "groups": self.groups,
            "interactions": self.interactions,
            "users": self.users,
            "listed": listed,
        }


def agree(values: NDArray[Any], order: Ints) -> NDArray[np.bool_]:
    """Whether each value in `order` equals the one before it; one fewer than there are."""
    return np.asarray(values[order[1:]] == values[order[:-1]])
