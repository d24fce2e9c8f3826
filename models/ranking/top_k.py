"""The top-k items of a catalogue per user, over tiles of scores.

B users per block, R columns, T columns per tile, C catalogue items, P pairs of a user and an item, E embedding.
"""

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from models.ranking.catalogue import Catalogue
from models.ranking.tiles import Tile, TilePairs, score_tiles, tile_edges

GROUP = 64  # columns whose maximum is compared first
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
    lists = TopLists(len(users), catalogue, masked, k)
    for tile in score_tiles(users, catalogue):
        lists.add(tile)
    return lists.top_k()


class TopLists:
    """Collects the top-k items per user over the tiles of a catalogue.

    A column whose items are all masked for a user is left out. Each other column has an item that may be listed, so the
    columns that reach the k-th largest score have all items of the list.

    Args:
        users: B.
        catalogue: the catalogue whose columns are scored.
        masked: as in `top_k_items`.
        k: as in `top_k_items`.
        edges: first column of each tile, and R; by default those of `score_tiles`.
    """

    def __init__(
        self,
        users: int,
        catalogue: Catalogue,
        masked: tuple[Tensor, Tensor],
        k: int,
        *,
        edges: Tensor | None = None,
    ) -> None:
        self.catalogue = catalogue
        self.k = k
        edges = tile_edges(catalogue) if edges is None else edges
        rows, items = masked
        is_listed = catalogue.ranks(items)
        width = len(catalogue.column)
        pairs = torch.unique(rows[is_listed] * width + items[is_listed])
        self.masked = pairs.cpu().numpy()  # row * (N + 1) + item, ascending
        rows, columns = pairs // width, catalogue.column[pairs % width]
        width = len(catalogue.counts)
        pairs, count = torch.unique(rows * width + columns, return_counts=True)
        pairs = pairs[count == catalogue.counts[pairs % width]]
        self.left_out = TilePairs(pairs // width, pairs % width, edges)
        empty = (catalogue.counts == 0).nonzero()[:, 0]  # the columns of appended items alone
        self.empty = TilePairs(empty, empty, edges)
        # The k-th largest score of each user so far. A column that is left out has -inf, which is less.
        self.least = catalogue.counts.new_full((users, 1), LOWEST)
        self.is_full = False  # whether k items of each user are known
        self.top = _Scored.concatenate([])
        self.found: list[_Scored] = []

    def add(self, tile: Tile) -> None:
        """Adds the columns of a tile; overwrites the scores of those that are left out."""
        scores = tile.scores
        scores[self.left_out.of(tile)] = -torch.inf
        empty, columns = self.empty.of(tile)
        if len(empty):
            scores[:, columns] = -torch.inf
        least = self.least
        if not self.is_full:
            least = torch.maximum(least, _lower_bound(scores, min(self.k, scores.shape[1])))
        rows, columns = _reaching(scores, least)
        found = (rows, columns + tile.columns.start, scores[rows, columns])
        self.found.append(self._items(*(part.cpu().numpy() for part in found)))
        if sum(len(found.rows) for found in self.found) > self.k * len(least):
            self._merge()

    def top_k(self) -> TopK:
        """The lists, after all tiles."""
        self._merge()
        rows, items, scores = self.top
        return TopK(rows, (1 + _ranks_from_0(rows)).astype(np.int32), items, scores)

    def _items(
        self, rows: NDArray[np.int64], columns: NDArray[np.int64], scores: NDArray[np.float32]
    ) -> "_Scored":
        """The items of columns that are not masked."""
        listed, bounds = self.catalogue.listed
        counts = bounds[columns + 1] - bounds[columns]
        within = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
        items = listed[np.repeat(bounds[columns], counts) + within]
        rows, scores = np.repeat(rows, counts), np.repeat(scores, counts)
        is_open = ~np.isin(rows * len(self.catalogue.column) + items, self.masked)
        return _Scored(rows[is_open], items[is_open], scores[is_open])

    def _merge(self) -> None:
        """Keeps the k largest scores per user; of equal scores, those of the lowest item numbers."""
        rows, items, scores = _Scored.concatenate([self.top, *self.found])
        order = np.lexsort([items, -scores, rows])
        ranks = _ranks_from_0(rows[order])
        order = order[ranks < self.k]
        self.top, self.found = _Scored(rows[order], items[order], scores[order]), []
        last = order[ranks[ranks < self.k] == self.k - 1]
        self.least[rows[last], 0] = torch.from_numpy(scores[last]).to(self.least)
        self.is_full = len(last) == len(self.least)


class _Scored(NamedTuple):
    """Scores of users and items.

    Args:
        rows: user rows.
        items: item numbers.
        scores: their scores.
    """

    rows: NDArray[np.int64]
    items: NDArray[np.int64]
    scores: NDArray[np.float32]

    @classmethod
    def concatenate(cls, parts: "list[_Scored]") -> "_Scored":
        """All parts, one after the other."""
        none = cls(*(np.zeros(0, dtype) for dtype in (np.int64, np.int64, np.float32)))
        return cls(*(np.concatenate(columns) for columns in zip(none, *parts, strict=True)))


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
    edges = torch.tensor([0, scores.shape[1]], device=scores.device)
    lists = TopLists(len(scores), catalogue, masked, k, edges=edges)
    lists.add(Tile(0, slice(0, scores.shape[1]), scores, None))
    return lists.top_k()


def _ranks_from_0(rows: NDArray[np.int64]) -> NDArray[np.int64]:
    """Index of each entry among those of its row; rows ascend."""
    return np.arange(len(rows)) - np.searchsorted(rows, rows)


def _lower_bound(scores: Tensor, k: int) -> Tensor:
    """(B, 1): a lower bound of the k-th largest of (B, T) scores, but no less than the least finite number.

    It is the k-th largest of the maxima of groups of columns.
    """
    users, count = scores.shape
    size = max(1, min(GROUP, count // k))  # of a group; there are at least k groups
    whole = count // size * size
    maxima = scores[:, :whole].unflatten(1, (-1, size)).amax(2)
    return maxima.topk(k, dim=1).values[:, -1:].clamp(min=LOWEST)


def _reaching(scores: Tensor, least: Tensor) -> tuple[Tensor, Tensor]:
    """Rows and columns of the scores that are at least `least`, (B, 1), in ascending order.

    Columns are compared in groups by their maximum first, as few groups have such a score.
    """
    size = min(GROUP, scores.shape[1])
    whole = scores.shape[1] // size * size
    maxima = scores[:, :whole].unflatten(1, (-1, size)).amax(2)
    if whole < scores.shape[1]:
        maxima = torch.cat([maxima, scores[:, whole:].amax(1, keepdim=True)], dim=1)
    rows, groups = (maxima >= least).nonzero(as_tuple=True)
    columns = groups[:, None] * size + torch.arange(size, device=scores.device)
    inside = columns < scores.shape[1]
    values = scores[rows[:, None], columns.clamp(max=scores.shape[1] - 1)]
    chosen = (inside & (values >= least[rows])).nonzero(as_tuple=True)
    return rows[chosen[0]], columns[chosen]
