"""Reads stored states of tokens: the table `tokens/TOWER`, memory-mapped and read item by item.

N items, numbered 1..N. S tokens of an item, D width; B tokens of one image, where an item consists of images.
"""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray
from torch import Tensor

from toolkit import schema
from toolkit.errors import UserError
from toolkit.mapped import will_need_bytes
from toolkit.store import Table, map_file, translated

CLIP = b"clip"  # in the metadata, under `images`: an item is several images, which the encoder reads one by one
TokenStates = Tensor | list[Tensor]


class TokenTable:
    """Token states of N items, memory-mapped.

    Args:
        values: all values of each part of the table, one-dimensional; never written to.
        part: (N + 1,) part of each item; -1 for an item without states.
        bounds: (N + 1, 2) half-open range of each item's values in its part.
        width: D.
        image_tokens: B, if an item is a list of images that the encoder reads one by one; else None.
    """

    def __init__(
        self,
        values: Sequence[Tensor],
        part: NDArray[np.int64],
        bounds: NDArray[np.int64],
        *,
        width: int,
        image_tokens: int | None = None,
    ) -> None:
        self.values = list(values)
        self.width = width
        self.image_tokens = image_tokens
        self._part = part
        self._bounds = bounds

    def __len__(self) -> int:
        return len(self._part)

    def __repr__(self) -> str:
        return f"TokenTable({len(self) - 1} items, {int(self.lengths().sum())} tokens, width={self.width})"

    @property
    def nbytes(self) -> int:
        """Size of all states."""
        return int(self.lengths().sum()) * self.width * self.values[0].itemsize

    def lengths(self) -> NDArray[np.int64]:
        """(N + 1,) tokens of each item; 0 for an item without states, and for padding."""
        sizes: NDArray[np.int64] = (self._bounds[:, 1] - self._bounds[:, 0]) // self.width
        return sizes

    def read(self, items: Sequence[int]) -> list[TokenStates | None]:
        """The states of each item, (S, D): views of the mapped file, read at first access.

        A clip whose images the encoder reads one by one is a list of (B, D). An item without states is None.

        Args:
            items: numbers 1..N, in any order; 0 has no states.
        """
        for number in items:  # prefetch all of them before waiting for the first
            if self._part[number] >= 0:
                will_need_bytes(self._flat(number))
        return [self._states(number) for number in items]

    def _flat(self, number: int) -> Tensor:
        start, end = self._bounds[number].tolist()
        return self.values[self._part[number]][start:end]

    def _states(self, number: int) -> TokenStates | None:
        if self._part[number] < 0:
            return None
        states = self._flat(number).view(-1, self.width)
        return states if self.image_tokens is None else list(states.split(self.image_tokens))


def open_tokens(table: Table, *, items: int) -> TokenTable:
    """Maps a table of token states without reading the states.

    Args:
        table: `tokens/TOWER` (`toolkit.schema.tokens`), with rows in any order in any shard.
        items: N.

    Raises:
        UserError: if a shard is not readable or differs from the first in schema or metadata, an item has no row, or a
            row has an unknown item or a broken length.
    """
    part = np.full(items + 1, -1)
    bounds = np.zeros((items + 1, 2), np.int64)
    seen = np.arange(items + 1) == 0  # padding has no row
    values: list[Tensor] = []
    stored = table.read(map_file)
    dtype = schema.states_dtype(stored.schema, where=str(table.folder))
    schema.validate(stored, schema.tokens(dtype), where=str(table.folder))
    metadata = stored.schema.metadata
    with translated(table.folder):  # numbers in the metadata, offsets and hidden nulls
        width = int(metadata[b"width"])
        image_tokens = int(metadata[b"image_tokens"]) if metadata.get(b"images") == CLIP else None
        for batch in stored.to_batches():
            rows = batch.column("item").to_numpy().astype(np.int64)
            lists = batch.column("tokens")
            offsets = lists.offsets.to_numpy().astype(np.int64)
            flat = _mapped(lists.values, dtype)
            _refuse_broken(table, rows, offsets, len(flat), width, items)
            part[rows[np.diff(offsets) > 0]] = len(values)
            bounds[rows] = np.stack([offsets[:-1], offsets[1:]], axis=1)
            seen[rows] = True
            values.append(flat)
    absent = int((~seen).sum())
    if absent:
        raise UserError(
            f"{table.folder}: {absent} of {items} items have no row; run: python -m prep encode "
            f"{table.folder.parent.parent}"
        )
    return TokenTable(values, part, bounds, width=width, image_tokens=image_tokens)


def _mapped(values: pa.Array, dtype: schema.StatesDtype) -> Tensor:
    """The values of a mapped shard without a copy; (0,) where there are none."""
    if not len(values):
        return torch.empty(0, dtype=getattr(torch, dtype))
    mapped: Tensor = torch.from_dlpack(values)
    return mapped.view(getattr(torch, dtype))


def _refuse_broken(
    table: Table,
    rows: NDArray[np.int64],
    offsets: NDArray[np.int64],
    values: int,
    width: int,
    items: int,
) -> None:
    sizes = np.diff(offsets)
    wrong = (sizes < 0) | (sizes % width != 0) if width > 0 else np.ones(len(sizes), bool)
    if wrong.any() or (len(offsets) and not 0 <= offsets[0] <= offsets[-1] <= values):
        raise UserError(
            f"{table.folder}: the lengths of its rows are broken (states are {width} wide); delete the folder and run prep "
            "encode again"
        )
    if len(rows) and not 1 <= rows.min() <= rows.max() <= items:
        raise UserError(
            f"{table.folder}: has item numbers above {items}, the number of items in this dataset; delete the folder and "
            "run prep encode again"
        )
