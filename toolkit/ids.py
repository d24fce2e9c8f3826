"""One owner of ids: the dump's own strings on one side, row numbers 1..N on the other."""

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from toolkit.errors import UserError

PADDING = 0


class IdMap:
    """Strings to integers 1..N, in the order given; 0 stays free for padding.

    Args:
        ids: distinct strings; the first becomes 1.

    Raises:
        ValueError: if an id comes twice.
    """

    def __init__(self, ids: Iterable[str]) -> None:
        self.ids: list[str] = list(ids)
        self._numbers = {id_: number for number, id_ in enumerate(self.ids, start=1)}
        if len(self._numbers) != len(self.ids):
            seen: set[str] = set()
            twice = next(i for i in self.ids if i in seen or seen.add(i))  # type: ignore[func-returns-value]
            raise ValueError(f"id {twice!r} comes twice; ids must be distinct")

    def __len__(self) -> int:
        return len(self.ids)

    def __contains__(self, id_: str) -> bool:
        return id_ in self._numbers

    def __repr__(self) -> str:
        return f"IdMap({len(self)} ids)"

    def number(self, id_: str, *, kind: str = "item") -> int:
        """The number of one id.

        Raises:
            UserError: if the id is unknown.
        """
        try:
            return self._numbers[id_]
        except KeyError:
            raise UserError(
                f"{kind} {id_!r} is not in this dataset ({len(self)} {kind}s, e.g. {self.ids[:3]})"
            ) from None

    def numbers(self, ids: Sequence[str], *, kind: str = "item") -> NDArray[np.int32]:
        """The numbers of several ids, in their order. Raises as `number` does."""
        return np.array([self.number(id_, kind=kind) for id_ in ids], dtype=np.int32)

    def id(self, number: int) -> str:
        """The id of one number, 1..N.

        Raises:
            ValueError: if the number is out of range (0 is padding and has no id).
        """
        if not 1 <= number <= len(self):
            raise ValueError(f"number {number} is outside 1..{len(self)}")
        return self.ids[number - 1]


def is_safe(id_: str) -> bool:
    """Whether an id can be part of a file name without leaving its folder."""
    return bool(id_) and id_ not in {".", ".."} and not any(c in id_ for c in "/\\\0")
