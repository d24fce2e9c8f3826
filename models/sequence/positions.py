"""Skips the padding of left-padded sequences on a CPU.

B sequences, L positions, P computed positions (the R real ones, or all B·L), E embedding.
"""

from torch import Tensor


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
