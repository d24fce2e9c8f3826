"""Maps the dump's own ids to item numbers 1..N, and validates ids."""

import operator
from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import Any

import numpy as np
from numpy.typing import NDArray

from toolkit.errors import UserError

PADDING = 0


class IdMap:
    """Maps strings to integers 1..N, in the given order; 0 is reserved for padding.

    Args:
        ids: distinct strings; the first becomes 1.

    Raises:
        ValueError: if an id is repeated.
    """

    def __init__(self, ids: Iterable[str]) -> None:
        self.ids: list[str] = list(ids)
        self._numbers = {id_: number for number, id_ in enumerate(self.ids, start=1)}
        if len(self._numbers) != len(self.ids):
            seen: set[str] = set()
            twice = next(i for i in self.ids if i in seen or seen.add(i))  # type: ignore[func-returns-value]
            raise ValueError(f"id {twice!r} is repeated; ids must be distinct")

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
    """Ids as strings, from a list, an array, a pandas Series or Index, an Arrow column or a generator.

    Strings are kept, and integers become their decimal digits, as in a file: 12 and NumPy's int64(12) are "12".
    Other types are refused, because 12.0 may mean "12" or "12.0".

    Args:
        values: the ids.
        what: name of the list in messages, such as `users`.
        one: name of a single id in messages.

    Raises:
        UserError: if `values` is not a list of ids, or an element is not an id, with its position from 0.
    """
    items = as_list(values, what=what, one=one)
    if {*map(type, items)} <= {str} and all(items):
        return items
    return [_as_id(value, f"{what}, position {index}") for index, value in enumerate(items)]


def as_list(values: Any, *, what: str, one: str, ordered: bool = False) -> list[Any]:
    """The elements of a list or a list-like object.

    Args:
        values: the list.
        what: name of the list in messages.
        one: name of a single element in messages.
        ordered: whether the order matters, so that sets are refused.

    Raises:
        UserError: if `values` is text, a mapping, a table, or not iterable.
    """
    wanted = f"expected a list of {one}s"
    convert = getattr(values, "to_pylist", None) or getattr(values, "tolist", None)
    if isinstance(values, Mapping) or hasattr(values, "column_names") or hasattr(values, "columns"):
        raise UserError(f"{what}: {wanted}, got a {type(values).__name__}; give one of its columns")
    if ordered and isinstance(values, AbstractSet):
        raise UserError(f"{what}: {wanted} in their order, got a {type(values).__name__}")
    elements = convert() if convert else values
    if isinstance(elements, str | bytes | bytearray):
        raise UserError(f"{what}: {wanted}, got the text {_shown(elements)}; put it in a list")
    try:
        return list(elements)
    except TypeError:
        raise UserError(f"{what}: {wanted}, got {_shown(values)}") from None


def _as_id(value: Any, where: str) -> str:
    """One id as a string. Raises UserError with `where`."""
    if isinstance(value, str):
        if value:
            return str(value)
        raise UserError(f"{where}: the id is empty; give an id, or omit the entry")
    try:
        if isinstance(value, bool):
            raise TypeError
        return str(operator.index(value))
    except TypeError:
        raise UserError(
            f"{where}: {_shown(value)} is not an id; ids are text or whole numbers"
        ) from None


def _shown(value: Any) -> str:
    """A value and its type, shortened because it may be a whole table."""
    shown = " ".join(repr(value).split())
    return f"{shown[:60]}{'…' * (len(shown) > 60)} ({type(value).__name__})"


def is_safe(id_: str) -> bool:
    """Whether an id can be part of a file name without leaving its folder."""
    return bool(id_) and id_ not in {".", ".."} and not any(c in id_ for c in "/\\\0")
