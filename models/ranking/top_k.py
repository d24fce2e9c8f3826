"""The top-k items of a catalogue per user, over tiles of scores.

B users per block, R columns, T columns per tile, C catalogue items, P pairs of a user and an item, E embedding.
"""

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from models.ranking.catalogue import Catalogue
from models.ranking.tiles import GROUP, Tile, TilePairs, Tiling, score_tiles, tiles_for

KEPT = 16  # scores per list item that are kept before they are merged
LOWEST = torch.finfo(torch.float32).min


class TopK(NamedTuple):
    """Recommended items, ordered by user and rank.

    Args:
        rows: user rows, from 0.
        ranks: ranks of the items, from 1.
        items: item numbers.
        scores: scores of the items.
    """

    rows: NDArray[np.int64]
    ranks: NDArray[np.int32]
    items: NDArray[np.int64]
    scores: NDArray[np.float32]


@torch.no_grad()
def top_k_items(users: Tensor, catalogue: Catalogue, masked: tuple[Tensor, Tensor], k: int) -> TopK:
    """The top-k items per user. Items with equal scores are ordered by item number on every device.

    Args:
        users: (B, E) user states; B at most `models.ranking.tiles.users_at_once`.
        catalogue: the items that may be recommended.
        masked: (P,) user rows and (P,) item numbers of the pairs that are not recommended.
        k: number of items per user; fewer if fewer unmasked items remain.

    Raises:
        UserError: if a score is not finite.
    """
    tiling = tiles_for(len(users), catalogue)
    lists = TopLists(len(users), catalogue, masked, k, tiling)
    for tile in score_tiles(users, catalogue, tiling):
        lists.add(tile)
    return lists.top_k()


class TopLists:
    """Collects the top-k items per user over the tiles of a catalogue.

    A column whose items are all masked for a user is left out. Each other column has an item that may be listed, so the
    columns that reach the k-th largest score have all items of the list.

    The columns of each tile are divided into the same number of groups. The k-th largest of the maxima of the groups, over
    all tiles so far, is a lower bound of the k-th largest score: only scores that reach it are kept.

    Args:
        users: B.
        catalogue: the catalogue whose columns are scored.
        masked: as in `top_k_items`.
        k: as in `top_k_items`.
        tiling: the tiles that are added.
    """

    def __init__(
        self,
        users: int,
        catalogue: Catalogue,
        masked: tuple[Tensor, Tensor],
        k: int,
        tiling: Tiling,
    ) -> None:
        self.catalogue = catalogue
        self.k = k
        rows, items = masked
        is_listed = catalogue.ranks(items)
        width = len(catalogue.column)
        pairs = torch.unique(rows[is_listed] * width + items[is_listed])
        self.masked = pairs.cpu().numpy()  # row * (N + 1) + item, ascending
        rows, columns = pairs // width, catalogue.column[pairs % width]
        width = len(catalogue.counts)
        pairs, count = torch.unique(rows * width + columns, return_counts=True)
        pairs = pairs[count == catalogue.counts[pairs % width]]
        self.left_out = TilePairs(pairs // width, pairs % width, tiling)
        empty = (catalogue.counts == 0).nonzero()[:, 0]  # the columns of appended items alone
        self.empty = TilePairs(empty, empty, tiling)
        fitting = max(1, min(GROUP, tiling.size // k))
        self.size = 1 << (fitting.bit_length() - 1)  # columns per group
        # A column that is left out has the score -inf, which is less than the least of any user.
        self.maxima = catalogue.counts.new_full((users, tiling.size // self.size), LOWEST)
        self.least = catalogue.counts.new_full((users, 1), LOWEST)
        self.top = _Scored.concatenate([])
        self.found: list[_Scored] = []  # since `top`

    def add(self, tile: Tile) -> None:
        """Adds the columns of a tile, in order; overwrites the scores of those that are left out."""
        scores, first = tile.scores, tile.columns.start
        scores[self.left_out.of(tile)] = -torch.inf
        empty, columns = self.empty.of(tile)
        if len(empty):
            scores[:, columns] = -torch.inf
        whole = scores.shape[1] // self.size * self.size
        groups = scores[:, :whole].unflatten(1, (whole // self.size, self.size))
        maxima = groups.amax(2)
        self._raise_least(maxima, tile.number)
        rows, group = (maxima >= self.least).nonzero(as_tuple=True)
        values = groups.flatten(0, 1).index_select(0, rows * maxima.shape[1] + group)
        index, within = (values >= self.least[rows]).nonzero(as_tuple=True)
        self._keep(rows[index], first + group[index] * self.size + within, values[index, within])
        rest = scores[:, whole:]  # of the last tile
        rows, columns = (rest >= self.least).nonzero(as_tuple=True)
        self._keep(rows, first + whole + columns, rest[rows, columns])
        if sum(len(found.rows) for found in self.found) > KEPT * self.k * len(self.least):
            self._merge()

    def top_k(self) -> TopK:
        """The lists, after all tiles."""
        self._merge()
        rows, items, scores = self.top
        return TopK(rows, (1 + _ranks_from_0(rows)).astype(np.int32), items, scores)

    def _raise_least(self, maxima: Tensor, number: int) -> None:
        """Raises the lower bounds by the maxima of the groups of a tile, (B, groups), after 1, 2, 4, … tiles."""
        known = self.maxima[:, : maxima.shape[1]]
        torch.maximum(known, maxima, out=known)
        if (number + 1).bit_count() == 1 and self.k <= self.maxima.shape[1]:
            bound = self.maxima.topk(self.k, dim=1).values[:, -1:]
            self.least = torch.maximum(self.least, bound)

    def _keep(self, rows: Tensor, columns: Tensor, scores: Tensor) -> None:
        """Keeps scores of columns until they are merged."""
        if len(rows):
            self.found.append(_Scored(*(x.cpu().numpy() for x in (rows, columns, scores))))

    def _merge(self) -> None:
        """Keeps the k largest scores of items per user; of equal scores, those of the lowest item numbers."""
        found = _Scored.concatenate(self.found)
        found = found.at(found.scores >= self.least[:, 0].cpu().numpy()[found.rows])
        scored = _Scored.concatenate([self.top, self._of_items(found)])
        scored = scored.at(np.lexsort((scored.items, -scored.scores, scored.rows)))
        ranks = _ranks_from_0(scored.rows)
        self.top, self.found = scored.at(ranks < self.k), []
        last = scored.at(ranks == self.k - 1)
        self.least[torch.from_numpy(last.rows), 0] = torch.from_numpy(last.scores).to(self.least)

    def _of_items(self, columns: "_Scored") -> "_Scored":
        """The items of columns that are not masked."""
        listed, bounds = self.catalogue.listed
        first, counts = bounds[columns.items], bounds[columns.items + 1] - bounds[columns.items]
        within = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
        items = listed[np.repeat(first, counts) + within]
        rows, scores = np.repeat(columns.rows, counts), np.repeat(columns.scores, counts)
        is_open = ~np.isin(rows * len(self.catalogue.column) + items, self.masked)
        return _Scored(rows, items, scores).at(is_open)


class _Scored(NamedTuple):
    """Scores of users for items, or for columns.

    Args:
        rows: user rows.
        items: item numbers, or columns.
        scores: their scores.
    """

    rows: NDArray[np.int64]
    items: NDArray[np.int64]
    scores: NDArray[np.float32]

    @classmethod
    def concatenate(cls, parts: "list[_Scored]") -> "_Scored":
        """All parts, one after the other."""
        parts = [cls(np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0, np.float32)), *parts]
        return cls(
            np.concatenate([part.rows for part in parts]),
            np.concatenate([part.items for part in parts]),
            np.concatenate([part.scores for part in parts]),
        )

    def at(self, index: NDArray[np.int64] | NDArray[np.bool_]) -> "_Scored":
        """Those of an index or mask."""
        return _Scored(self.rows[index], self.items[index], self.scores[index])


def select_top_k(
    scores: Tensor, catalogue: Catalogue, masked: tuple[Tensor, Tensor], k: int
) -> TopK:
    """The top-k items per user, from scores that were computed already.

    Args:
        scores: (B, R), finite; may be overwritten.
        catalogue: the catalogue whose columns are scored.
        masked: as in `top_k_items`.
        k: as in `top_k_items`.
    """
    columns = scores.shape[1]
    lists = TopLists(len(scores), catalogue, masked, k, Tiling(columns, columns))
    lists.add(Tile(0, slice(0, columns), scores))
    return lists.top_k()


def _ranks_from_0(rows: NDArray[np.int64]) -> NDArray[np.int64]:
    """Index of each entry among those of its row; rows ascend."""
    return np.arange(len(rows)) - np.searchsorted(rows, rows)
