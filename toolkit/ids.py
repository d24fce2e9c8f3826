"""One owner of ids: the dump's own strings on one side, row numbers 1..N on the other."""

import operator
from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import Any

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

    def find(self, ids: Iterable[str]) -> NDArray[np.int32]:
        """The numbers of several ids, in their order; 0 for an unknown id."""
        return np.array([self._numbers.get(id_, PADDING) for id_ in ids], dtype=np.int32)

    def id(self, number: int) -> str:
        """The id of one number, 1..N.

        Raises:
            ValueError: if the number is out of range (0 is padding and has no id).
        """
        if not 1 <= number <= len(self):
            raise ValueError(f"number {number} is outside 1..{len(self)}")
        return self.ids[number - 1]


def as_ids(values: Any, *, what: str, one: str = "id") -> list[str]:
    """Ids as text, however they are held: a list, an array, a pandas Series or Index, a column of Arrow, a generator.

    Text stays as it is, and whole numbers are their decimal digits: 12 and NumPy's int64(12) are "12". So are ids
    that come out of a file. Nothing else is an id: 12.0 may be "12" or "12.0", and nobody said which.

    Args:
        values: the ids.
        what: they are, for messages: `users`.
        one: what a single one is called.

    Raises:
        UserError: if this is no list of ids, or one is no id; the message has its position, from 0.
    """
    found = as_list(values, what=what, one=one)
    if {*map(type, found)} <= {str} and all(found):
        return found
    return [_as_id(value, f"{what}, position {place}") for place, value in enumerate(found)]


def as_list(values: Any, *, what: str, one: str, ordered: bool = False) -> list[Any]:
    """What a list or anything like one holds.

    Args:
        values: the list.
        what: it is, for messages.
        one: what it holds.
        ordered: whether the order matters, so that a set will not do.

    Raises:
        UserError: if it is text, a mapping, a table, or nothing that can be gone through.
    """
    wanted = f"expected a list of {one}s"
    convert = getattr(values, "to_pylist", None) or getattr(values, "tolist", None)
    if isinstance(values, Mapping) or hasattr(values, "column_names") or hasattr(values, "columns"):
        raise UserError(f"{what}: {wanted}, got a {type(values).__name__}; give one of its columns")
    if ordered and isinstance(values, AbstractSet):
        raise UserError(f"{what}: {wanted} in their order, got a {type(values).__name__}")
    found = convert() if convert else values
    if isinstance(found, str | bytes | bytearray):
        raise UserError(f"{what}: {wanted}, got the text {_shown(found)}; put it in a list")
    try:
        return list(found)
    except TypeError:
        raise UserError(f"{what}: {wanted}, got {_shown(values)}") from None


def _as_id(value: Any, where: str) -> str:
    """One id as text. Raises UserError naming `where`."""
    if isinstance(value, str):
        if value:
            return str(value)
        raise UserError(f"{where}: an empty id; give one, or leave it out")
    try:
        if isinstance(value, bool):
            raise TypeError
        return str(operator.index(value))
    except TypeError:
        raise UserError(
            f"{where}: {_shown(value)} is no id; ids are text or whole numbers"
        ) from None


def _shown(value: Any) -> str:
    """A value and its type, shortened: it may be a whole table."""
    shown = " ".join(repr(value).split())
    return f"{shown[:60]}{'…' * (len(shown) > 60)} ({type(value).__name__})"


def is_safe(id_: str) -> bool:
    """Whether an id can be part of a file name without leaving its folder."""
    return bool(id_) and id_ not in {".", ".."} and not any(c in id_ for c in "/\\\0")
