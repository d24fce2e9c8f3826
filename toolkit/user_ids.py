"""Ids of users as one Arrow array: a log may have more users than fit into memory as Python strings."""

from collections.abc import Iterable, Iterator, Sequence
from typing import overload

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

_AT_ONCE = 1 << 16  # ids that are Python strings at a time


class UserIds(Sequence[str]):
    """A sequence of strings in an Arrow array: 8 bytes per user beside the characters.

    It equals every other sequence of the same strings, and `pa.array(ids)` converts it without Python strings.

    Args:
        ids: the ids.

    >>> ids = UserIds(["a", "b", "c"])
    >>> ids[1], list(ids[1:]), ids == ["a", "b", "c"], ids.index("c")
    ('b', ['b', 'c'], True, 2)
    """

    def __init__(self, ids: Iterable[str] | pa.Array | pa.ChunkedArray) -> None:
        if not isinstance(ids, pa.Array | pa.ChunkedArray):
            ids = pa.array(ids if isinstance(ids, Sequence) else list(ids), pa.large_string())
        ids = ids.cast(pa.large_string())  # `string` holds at most 2 GiB of characters
        self._ids: pa.Array = ids.combine_chunks() if isinstance(ids, pa.ChunkedArray) else ids

    def __len__(self) -> int:
        return len(self._ids)

    @overload
    def __getitem__(self, index: int) -> str: ...

    @overload
    def __getitem__(self, index: slice) -> "UserIds": ...

    def __getitem__(self, index: "int | slice") -> "str | UserIds":
        """One id, or the ids of a slice."""
        if isinstance(index, slice):
            return UserIds(self._ids[index])
        id_: str = self._ids[int(index)].as_py()
        return id_

    def __iter__(self) -> Iterator[str]:
        for start in range(0, len(self), _AT_ONCE):
            yield from self._ids.slice(start, _AT_ONCE).to_pylist()

    def __contains__(self, id_: object) -> bool:
        return isinstance(id_, str) and self._position(id_) >= 0

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Sequence) or isinstance(other, str):
            return NotImplemented
        if isinstance(other, UserIds):
            return bool(self._ids.equals(other._ids))
        return len(self) == len(other) and all(a == b for a, b in zip(self, other, strict=True))

    __hash__ = None  # type: ignore[assignment]  # as of a list

    def __repr__(self) -> str:
        return f"UserIds({len(self):,} ids)"

    def __arrow_array__(self, type: pa.DataType | None = None) -> pa.Array:
        """The ids as an Arrow array, for `pa.array`."""
        return self._ids if type is None else self._ids.cast(type)

    def index(self, id_: str, start: int = 0, stop: int | None = None) -> int:
        """Index of the first occurrence of an id.

        Raises:
            ValueError: if there is none.
        """
        first, last, _ = slice(start, stop).indices(len(self))
        position = self[first:last]._position(id_)
        if position < 0:
            raise ValueError(f"{id_!r} is not a user")
        return first + position

    def take(self, rows: NDArray[np.int64]) -> "UserIds":
        """The ids with these indices."""
        return UserIds(self._ids.take(pa.array(rows)))

    def where(self, chosen: NDArray[np.bool_]) -> "UserIds":
        """The ids whose flag is set; the same object if all are."""
        return self if chosen.all() else UserIds(self._ids.filter(pa.array(chosen)))

    def _position(self, id_: str) -> int:
        return int(pc.index(self._ids, pa.scalar(id_, pa.large_string())).as_py())
