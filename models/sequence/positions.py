"""Which positions of left-padded sequences are computed: the real ones where that is cheap to ask, else all.

B sequences, L positions, P of them computed: R real ones, or all B·L. E embedding.
"""

from torch import Tensor


class Positions:
    """Picks the computed positions out of (B, L, E), and spreads (P, E) over (B, L, E) again.

    Most histories are short, and what acts on each position alone is most of the work. Only a CPU leaves padding
    out: on a GPU the host would have to wait for the count of real positions, and sizes would change from step to step.

    Args:
        real: (B, L) true where there is an item.
        skip_padding: whether padding may be left out.
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
            all_of_them = x.new_zeros(self.shape.numel(), x.shape[1])
            x = all_of_them.index_copy(0, self.rows, x)
        return x.unflatten(0, self.shape)
