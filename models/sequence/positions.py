"""Skips the padding of left-padded sequences on a CPU.

B sequences, L positions, P computed positions (the R real ones, or all B·L), H heads, E embedding.
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor


class HeadRows(NamedTuple):
    """Which row each head of queries, keys and values has, packed and padded.

    Packed rows are in the order (P, 3, H), padded rows in the order (3, B, H, L).

    Args:
        padded: (3·B·H·L,) the packed row that each padded row reads; any row at padding.
        packed: (P·3·H,) the padded row of each packed row.
        context: (P·H,) the row in (B, H, L) of each row of (P, H).
    """

    padded: Tensor
    packed: Tensor
    context: Tensor


class Positions:
    """Gathers the computed positions of (B, L, E), and scatters (P, E) back to (B, L, E).

    Most histories are short, and position-wise layers are most of the work, so skipping padding saves time on a CPU. On
    a GPU it would cost a synchronisation for the number of real positions, and sizes would vary between steps.

    Args:
        real: (B, L) false at padding.
        skip_padding: whether padding may be skipped.
    """

    def __init__(self, real: Tensor, *, skip_padding: bool) -> None:
        self.shape = real.shape
        self.rows: Tensor | None = None
        if skip_padding and real.device.type == "cpu":
            self.rows = real.flatten().nonzero().squeeze(1)
        self._head_rows: dict[int, HeadRows] = {}

    def pick(self, x: Tensor) -> Tensor:
        """(B, L, E) -> (P, E)."""
        flat = x.flatten(0, 1)
        return flat if self.rows is None else flat.index_select(0, self.rows)

    def spread(self, x: Tensor) -> Tensor:
        """(P, E) -> (B, L, E); zeros elsewhere."""
        if self.rows is not None:
            padded = x.new_zeros(self.shape.numel(), x.shape[1])
            x = padded.index_copy(0, self.rows, x)
        return x.unflatten(0, self.shape)

    def head_rows(self, heads: int) -> HeadRows | None:
        """The rows of single heads; None if no padding is skipped, or everything is padding."""
        if self.rows is None or not len(self.rows):
            return None
        if heads not in self._head_rows:
            (batch, length), count = self.shape, len(self.rows)
            numbers = torch.arange(3 * batch * heads * length).view(3, batch, heads, length)
            packed = numbers.permute(1, 3, 0, 2).flatten(0, 1)[self.rows].flatten()
            padded = packed.new_zeros(3 * batch * heads * length)
            padded.index_copy_(0, packed, torch.arange(len(packed)))
            context = packed.view(count, 3, heads)[:, 0].reshape(-1)
            self._head_rows[heads] = HeadRows(padded, packed, context)
        return self._head_rows[heads]


class EarlierPositions:
    """Reads, for each computed position, the value some positions earlier in its sequence; zeros before the first item.

    Args:
        real: (B, L) false at padding, which is read as zeros.
        positions: the computed positions.
    """

    def __init__(self, real: Tensor, positions: Positions) -> None:
        self.length = real.shape[1]
        self.positions = positions
        computed = real if positions.rows is not None else torch.ones_like(real)
        index = computed.flatten().cumsum(0).view_as(real)  # from 1; 0 is the row of zeros
        self.index = index.masked_fill(~real, 0)
        self.shifted: dict[int, Tensor] = {}

    def shift(self, x: Tensor, distance: int) -> Tensor:
        """The values at positions l - `distance`.

        Args:
            x: (P, E).
            distance: at least 0 and less than L.

        Returns:
            (P, E), at positions l.
        """
        if not distance and self.positions.rows is not None:
            return x
        if distance not in self.shifted:
            earlier = F.pad(self.index[:, : self.length - distance], (distance, 0))
            self.shifted[distance] = self.positions.pick(earlier[..., None]).squeeze(1)
        # F.embedding: the backward of x[index] is not deterministic on several CPU threads.
        return F.embedding(self.shifted[distance], F.pad(x, (0, 0, 1, 0)))
