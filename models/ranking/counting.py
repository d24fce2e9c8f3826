"""Ranks of targets by counting over tiles of scores.

Rank = 1 + (items scored above the target) + half of the items scored equal, the target excluded. So a constant model
scores at chance level, and items with equal content gain no advantage from ties. A target that is masked for its own
user has rank infinity, where every metric is 0.

B users per block, R columns, T columns per tile, P pairs of a user and a masked item.
"""

import torch
from torch import Tensor

from models.ranking.catalogue import Catalogue
from models.ranking.tiles import Tile, TilePairs, Tiling


class RankCounter:
    """Counts all columns, and subtracts the masked items.

    1 + above + (equal - 1) / 2 equals (1 + items + above - below) / 2, so the sum of the signs of `scores - target`
    suffices. A masked target is not among the ranked items: its rank is infinity. A target that is appended to the
    catalogue competes with the catalogue's items, so it counts as one more item, equal to itself.

    Args:
        targets: (B,) item numbers in the catalogue, or appended to it.
        masked: (P,) user rows and (P,) item numbers of the masked pairs, without duplicates.
        catalogue: the catalogue whose columns are scored.
        tiling: the tiles that are added.
    """

    def __init__(
        self,
        targets: Tensor,
        masked: tuple[Tensor, Tensor],
        catalogue: Catalogue,
        tiling: Tiling,
    ) -> None:
        rows, items = masked
        self.counts = catalogue.counts
        self.never_hit = rows[items == targets[rows]]
        ranked = catalogue.ranks(items)
        rows, columns = rows[ranked], catalogue.column[items[ranked]]
        self.masked = TilePairs(rows, columns, tiling)
        masked_counts = torch.bincount(rows, minlength=len(targets))
        self.ranked = catalogue.counts.sum().double() - masked_counts + ~catalogue.ranks(targets)
        self.above_less_below = torch.zeros_like(self.ranked)

    def add(self, tile: Tile) -> None:
        """Counts the columns of a tile; overwrites its scores."""
        assert tile.targets is not None
        signs = tile.scores.sub_(tile.targets).sign_().to(self.counts.dtype)
        # float32 sums of whole numbers are exact up to 2^24 items, in any order of addition.
        self.above_less_below += signs @ self.counts[tile.columns]
        rows, columns = self.masked.of(tile)
        self.above_less_below.index_add_(0, rows, -signs[rows, columns].double())

    def ranks(self) -> Tensor:
        """(B,) float64, after all tiles."""
        ranks = (1 + self.ranked + self.above_less_below) / 2
        ranks[self.never_hit] = torch.inf
        return ranks


def count_ranks(
    scores: Tensor, targets: Tensor, masked: tuple[Tensor, Tensor], catalogue: Catalogue
) -> Tensor:
    """Ranks of targets from scores that were computed already.

    Args:
        scores: (B, R), finite.
        targets: as in `RankCounter`.
        masked: as in `RankCounter`.
        catalogue: the catalogue whose columns are scored.

    Returns:
        (B,) float64.
    """
    columns = scores.shape[1]
    counter = RankCounter(targets, masked, catalogue, Tiling(columns, columns))
    own = scores.gather(1, catalogue.column[targets][:, None])
    counter.add(Tile(0, slice(0, columns), scores.clone(), own))
    return counter.ranks()
