"""Scores of users for a catalogue, one tile at a time: a block of users and a range of columns.

A score of a large catalogue must not cost more than one of a small catalogue. So the scores in memory are bounded by the
size of a tile: on a CPU, a tile stays in the cache while it is compared, and has enough users for an efficient product.

B users per block, R columns, T columns per tile, E embedding, P pairs of a user and a column.
"""

from collections.abc import Iterator
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from models.losses.loss import Scores
from models.ranking.catalogue import Catalogue
from toolkit.errors import UserError

SIDE = 1 << 12  # columns of a tile, and most users
SIDE_CPU = 1 << 9
SCORES_BYTES = 1 << 28  # of a tile
SCORES_BYTES_CPU = 1 << 23
LEAST_USERS = 32  # matrix products of fewer users may round in another way


class Tile(NamedTuple):
    """Scores of a block of users for a range of columns.

    Args:
        number: of the tile, from 0.
        columns: the range.
        scores: (B, T), finite. They may be overwritten: the next tile may have the same memory.
        targets: (B, 1) score of each user's target column, which may be in another tile; None without targets.
    """

    number: int
    columns: slice
    scores: Tensor
    targets: Tensor | None


class TilePairs:
    """Pairs of a user and a column, by tile.

    Args:
        rows: (P,) user rows.
        columns: (P,) columns.
        edges: first column of each tile, and R.
    """

    def __init__(self, rows: Tensor, columns: Tensor, edges: Tensor) -> None:
        self.columns, order = columns.sort()
        self.rows = rows[order]
        self.bounds = torch.searchsorted(self.columns, edges).tolist()

    def of(self, tile: Tile) -> tuple[Tensor, Tensor]:
        """The user rows and the columns of the pairs of a tile, as indices into its scores."""
        part = slice(self.bounds[tile.number], self.bounds[tile.number + 1])
        return self.rows[part], self.columns[part] - tile.columns.start


def tile_columns(catalogue: Catalogue) -> int:
    """T. All columns if the catalogue has fewer, or if the model computes the scores of all items in any case."""
    own = catalogue.scores
    if own is not None and own.all_items:
        return max(1, len(catalogue.vectors))
    side = SIDE_CPU if catalogue.vectors.device.type == "cpu" else SIDE
    return max(1, min(side, len(catalogue.vectors)))


def tile_edges(catalogue: Catalogue) -> Tensor:
    """First column of each tile, and R."""
    edges = torch.arange(0, len(catalogue.vectors), tile_columns(catalogue))
    return torch.cat([edges, edges.new_tensor([len(catalogue.vectors)])]).to(catalogue.column.device)


def users_at_once(catalogue: Catalogue) -> int:
    """Number of users per block, so that a tile takes bounded memory."""
    on_cpu = catalogue.vectors.device.type == "cpu"
    side, limit_bytes = (SIDE_CPU, SCORES_BYTES_CPU) if on_cpu else (SIDE, SCORES_BYTES)
    values = 1 if catalogue.scores is None else catalogue.scores.values_per_score
    return max(1, min(side, limit_bytes // (4 * tile_columns(catalogue) * values)))


def score_tiles(users: Tensor, catalogue: Catalogue, targets: Tensor | None = None) -> Iterator[Tile]:
    """The scores of (B, E) users for all columns, a tile at a time.

    All products have the same shape: the last tile begins early, and shows its last columns only. The targets' own scores
    are the diagonal of one more such product, with each user's target as a column. So equal vectors have equal scores,
    in whichever tile they are, and a target is equal to itself.

    Args:
        users: B at most `users_at_once`.
        catalogue: its columns are scored.
        targets: (B,) column of each user's target.

    Raises:
        UserError: if a score is not finite.
    """
    size, edges = tile_columns(catalogue), tile_edges(catalogue)
    product = _Product(users, catalogue.scores, size)
    found = own = None
    if targets is not None and size < len(catalogue.vectors):
        of_targets = catalogue.vectors[F.pad(targets, (0, size - len(targets)))]
        found = product(of_targets).diagonal()[:, None].clone()
        own = TilePairs(torch.arange(len(users), device=users.device), targets, edges)
    bounds = edges.tolist()
    for number, (start, stop) in enumerate(zip(bounds, bounds[1:], strict=False)):
        first = max(0, stop - size)
        scores = product(catalogue.vectors[first:stop])[:, start - first :]
        if targets is not None and own is None:
            found = scores.gather(1, targets[:, None])
        tile = Tile(number, slice(start, stop), scores, found)
        if own is not None and found is not None:
            rows, columns = own.of(tile)
            scores[rows, columns] = found[rows, 0]
        yield tile


class _Product:
    """Scores of a block of users for T items, always in the same memory.

    Args:
        users: (B, E).
        scores: computes scores that are no dot products; None for dot products.
        columns: T.
    """

    def __init__(self, users: Tensor, scores: Scores | None, columns: int) -> None:
        self.count = len(users)
        self.scores = scores
        self.users = users
        if scores is None:
            self.users = F.pad(users, (0, 0, 0, -len(users) % LEAST_USERS))
            self.memory = users.new_empty(len(self.users), columns)

    def __call__(self, items: Tensor) -> Tensor:
        """(T, E) -> (B, T)."""
        if self.scores is None:
            scores = torch.mm(self.users, items.T, out=self.memory)[: self.count]
        else:
            scores = self.scores(self.users, items)
        if not torch.isfinite(torch.stack(scores.aminmax())).all():
            broken = int((~torch.isfinite(scores)).any(dim=1).sum())
            raise UserError(
                f"scores of {broken} of {self.count} users are not finite: the model has diverged; "
                "lower the learning rate, or use an earlier checkpoint"
            )
        return scores
