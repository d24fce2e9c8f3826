"""Reads the hidden-state store: the table of a tower, memory-mapped and read row by row.

N items, numbered 1..N; 0 is padding. K kept states of D values each.
"""

from collections.abc import Iterator

import pyarrow as pa
import torch
from torch import Tensor

from toolkit import schema
from toolkit.errors import UserError
from toolkit.mapped import will_need
from toolkit.store import Table, map_file, translated

READ_AT_ONCE = 1024


class StateTable:
    """Hidden states of N items and padding, (N + 1, K, D), in memory or memory-mapped.

    Args:
        parts: tensors (R, K * D), contiguous and of the same dtype; never written to.
        rows: (N + 1,) row of every item in the concatenated parts.
        layers: K.
        mapped: whether the parts are mapped files, so that reading them may take time.
    """

    def __init__(
        self, parts: list[Tensor], rows: Tensor, *, layers: int, mapped: bool = False
    ) -> None:
        self.shape = torch.Size((len(rows), layers, parts[0].shape[1] // layers))
        self.dtype = parts[0].dtype
        self._parts = parts
        self._rows = rows
        self._mapped = mapped
        self._bounds = torch.tensor([0, *(len(part) for part in parts)]).cumsum(0)

    @classmethod
    def of(cls, states: Tensor) -> "StateTable":
        """A table of states in memory, (N + 1, K, D)."""
        return cls([states.flatten(1)], torch.arange(len(states)), layers=states.shape[1])

    def __len__(self) -> int:
        return self.shape[0]

    def __repr__(self) -> str:
        return f"StateTable({tuple(self.shape)}, {self.dtype}, parts={len(self._parts)})"

    @property
    def nbytes(self) -> int:
        """Size of all states in memory."""
        return self.shape.numel() * self.dtype.itemsize

    def gather(self, items: Tensor, *, pin: bool = False) -> Tensor:
        """The states of U items in any order, (U,) -> (U, K, D); reads no other rows.

        Args:
            items: int64 item numbers, 0..N.
            pin: whether to return pinned memory, from which a GPU can copy asynchronously.
        """
        rows, order = self._rows.index_select(0, items).sort(stable=True)
        states = self._read(rows, self._empty(len(items), pin))
        if not torch.equal(order, torch.arange(len(order))):
            states = torch.index_select(
                states, 0, order.argsort(), out=self._empty(len(items), pin)
            )
        return states.view(-1, *self.shape[1:])

    def _read(self, rows: Tensor, into: Tensor) -> Tensor:
        """Copies ascending rows, (U,), in the order on disk, into (U, K * D)."""
        bounds = self._bounds.tolist()
        firsts = torch.searchsorted(rows, self._bounds).tolist()
        shares = [
            (part, rows[first:end] - bound, into[first:end])
            for part, bound, first, end in zip(
                self._parts, bounds, firsts, firsts[1:], strict=False
            )
            if first < end
        ]
        if self._mapped:  # prefetch all rows before waiting for the first
            for part, wanted, _ in shares:
                will_need(part, wanted)
        for part, wanted, target in shares:
            torch.index_select(part, 0, wanted, out=target)
        return into

    def _empty(self, count: int, pin: bool) -> Tensor:
        return torch.empty(count, self.shape[1:].numel(), dtype=self.dtype, pin_memory=pin)

    def chunks(self) -> Iterator[Tensor]:
        """Yields all states in order, in chunks of a few items."""
        for items in torch.arange(len(self)).split(READ_AT_ONCE):
            yield self.gather(items)

    def load(self, device: torch.device | str = "cpu") -> Tensor:
        """Reads all states, (N + 1, K, D), into memory or onto a device."""
        states = torch.empty(self.shape, dtype=self.dtype, device=device)
        for target, chunk in zip(states.split(READ_AT_ONCE), self.chunks(), strict=True):
            target.copy_(chunk)
        return states


class LastState(StateTable):
    """The last kept state of each item of a table, (N + 1, 1, D); in memory it takes a K-th of the whole table.

    Args:
        table: of all K states.
    """

    def __init__(self, table: StateTable) -> None:
        self.shape = torch.Size((len(table), 1, table.shape[2]))
        self.dtype = table.dtype
        self._table = table

    def __repr__(self) -> str:
        return f"LastState({self._table})"

    def gather(self, items: Tensor, *, pin: bool = False) -> Tensor:
        """The last state of U items in any order, (U,) -> (U, 1, D)."""
        states = self._table.gather(items)[:, -1:].contiguous()
        return states.pin_memory() if pin else states


def open_states(table: Table, *, items: int) -> StateTable:
    """Maps a table of states without reading the states.

    Args:
        table: `states/TOWER` (`toolkit.schema.states`), with rows in any order in any shard.
        items: N.

    Raises:
        UserError: if a shard is not readable or differs from the first in schema or metadata, an item has no row,
            or a row has an unknown item.
    """
    stored = table.read(map_file)
    dtype = schema.states_dtype(stored.schema, where=str(table.folder))
    with translated(table.folder):  # numbers in the metadata, lengths and hidden nulls
        layers, width = (int(stored.schema.metadata[key]) for key in (b"layers", b"width"))
        schema.validate(stored, schema.states(layers, width, dtype), where=str(table.folder))
        numbers = torch.from_numpy(stored.column("item").to_numpy().astype("int64"))
        parts = [_mapped(chunk, dtype) for chunk in stored.column("states").chunks]
    if len(numbers) and not 1 <= int(numbers.min()) <= int(numbers.max()) <= items:
        raise UserError(
            f"{table.folder}: has item numbers above {items}, the number of items in this dataset; "
            "delete the folder and run prep encode again"
        )
    rows = torch.full((items + 1,), -1)
    rows[0] = 0  # the first part is the padding row
    rows[numbers] = torch.arange(1, len(numbers) + 1)
    absent = int((rows < 0).sum())
    if absent:
        raise UserError(
            f"{table.folder}: {absent} of {items} items have no states; "
            f"run: python -m prep encode {table.folder.parent.parent}"
        )
    padding = torch.zeros(1, layers * width, dtype=getattr(torch, dtype))
    return StateTable([padding, *parts], rows, layers=layers, mapped=True)


def _mapped(states: pa.FixedSizeListArray, dtype: schema.StatesDtype) -> Tensor:
    """The values of a mapped shard, (R, K * D), without a copy."""
    return torch.from_dlpack(states.flatten()).view(getattr(torch, dtype)).view(len(states), -1)
