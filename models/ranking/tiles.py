"""Scores of users for a catalogue, one tile at a time: a block of users and a range of columns.

A score costs the same over a large catalogue as over a small one, because the size of a tile is bounded: on a CPU, a tile
stays in the cache while it is compared, and has enough users and columns for an efficient matrix product.

B users per block, R columns, T columns per tile, E embedding, P pairs of a user and a column.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from models.ranking.catalogue import Catalogue
from toolkit.errors import UserError

USERS_AT_ONCE = 1 << 12
USERS_AT_ONCE_CPU = 1 << 10
TILE_BYTES = 1 << 28
TILE_BYTES_CPU = 1 << 22
GROUP = 64  # columns of which top-k compares the maximum first; tiles have whole groups
LEAST_USERS = 32  # matrix products of fewer users may round in another way


@dataclass(frozen=True)
class Tiling:
    """The ranges of columns.

    Args:
        columns: R.
        size: T.
    """

    columns: int
    size: int

    @cached_property
    def edges(self) -> list[int]:
        """First column of each tile, and R."""
        return [*range(0, self.columns, self.size), self.columns]


class Tile(NamedTuple):
    """Scores of a block of users for a range of columns.

    Args:
        number: of the tile, from 0.
        columns: the range.
        scores: (B, T), finite. They may be overwritten; the next tile has the same memory.
        targets: (B, 1) score of each user's target, whichever tile it is in; None without targets.
    """

    number: int
    columns: slice
    scores: Tensor
    targets: Tensor | None = None


class TilePairs:
    """Pairs of a user and a column, by tile.

    Args:
        rows: (P,) user rows.
        columns: (P,) columns.
        tiling: the ranges of columns.
    """

    def __init__(self, rows: Tensor, columns: Tensor, tiling: Tiling) -> None:
        self.columns, order = columns.sort()
        self.rows = rows[order]
        edges = torch.tensor(tiling.edges, device=columns.device)
        self.bounds = torch.searchsorted(self.columns, edges).tolist()

    def of(self, tile: Tile) -> tuple[Tensor, Tensor]:
        """The user rows and the columns of the pairs of a tile, as indices into its scores."""
        part = slice(self.bounds[tile.number], self.bounds[tile.number + 1])
        return self.rows[part], self.columns[part] - tile.columns.start


def users_at_once(catalogue: Catalogue) -> int:
    """The largest number of users per block."""
    largest = USERS_AT_ONCE_CPU if _on_cpu(catalogue) else USERS_AT_ONCE
    columns = len(catalogue.vectors) if _computes_all(catalogue) else largest
    return max(1, min(largest, _scores_per_tile(catalogue) // max(columns, 1)))


def tiles_for(users: int, catalogue: Catalogue) -> Tiling:
    """The tiles for a number of users, at most `users_at_once`; of fewer users, they have more columns.

    A model that computes the scores of all items in any case has a single tile.
    """
    columns = max(len(catalogue.vectors), 1)
    if _computes_all(catalogue):
        return Tiling(columns, columns)
    size = _scores_per_tile(catalogue) // _padded(users) // GROUP * GROUP
    return Tiling(columns, min(columns, max(size, GROUP)))


def score_tiles(
    users: Tensor, catalogue: Catalogue, tiling: Tiling, targets: Tensor | None = None
) -> Iterator[Tile]:
    """Scores of users for all columns of a catalogue.

    All matrix products have the same shape: the last tile begins early, without its first columns. The score of a target
    is from one more such product, whose columns are the targets, if it is not from the only tile. So equal vectors have
    equal scores, in whichever tiles they are.

    Args:
        users: (B, E).
        catalogue: its columns are scored.
        tiling: from `tiles_for`.
        targets: (B,) column of each user's target.

    Raises:
        UserError: if a score is not finite.
    """
    product = _Product(users, catalogue, tiling.size)
    own, pairs = None, None
    if targets is not None and tiling.size < tiling.columns:
        of_targets = catalogue.vectors[F.pad(targets, (0, tiling.size - len(targets)))]
        own = product(of_targets).diagonal()[:, None].clone()
        rows = torch.arange(len(users), device=users.device)
        pairs = TilePairs(rows, targets, tiling)
    for number, (start, stop) in enumerate(zip(tiling.edges, tiling.edges[1:], strict=False)):
        first = stop - tiling.size
        scores = product(catalogue.vectors[first:stop])[:, start - first :]
        if targets is not None and own is None:
            own = scores.gather(1, targets[:, None])
        tile = Tile(number, slice(start, stop), scores, own)
        if own is not None and pairs is not None:  # equal to itself
            rows, columns = pairs.of(tile)
            scores[rows, columns] = own[rows, 0]
        yield tile


class _Product:
    """Scores of a block of users for T items, in the same memory if they are dot products.

    Args:
        users: (B, E).
        catalogue: its function of the scores, and its vectors, which bound them.
        size: T.
    """

    def __init__(self, users: Tensor, catalogue: Catalogue, size: int) -> None:
        self.count = len(users)
        self.scores = catalogue.scores
        self.users = users
        self.is_finite = False  # whether every score is known to be
        if self.scores is None:
            self.users = F.pad(users, (0, 0, 0, _padded(len(users)) - len(users)))
            self.memory = users.new_empty(len(self.users), size)
            # |u·v| <= |u| |v|, and so are the sums of fewer products.
            bound = float(torch.linalg.vector_norm(users, dim=1).amax()) * catalogue.longest
            self.is_finite = bound < torch.finfo(users.dtype).max / 2

    def __call__(self, items: Tensor) -> Tensor:
        """(T, E) -> (B, T)."""
        if self.scores is None:
            scores = torch.mm(self.users, items.T, out=self.memory)[: self.count]
        else:
            scores = self.scores(self.users, items)
        if not self.is_finite and not all(
            map(math.isfinite, torch.stack(scores.aminmax()).tolist())
        ):
            broken = int((~torch.isfinite(scores)).any(dim=1).sum())
            raise UserError(
                f"scores of {broken} of {self.count} users are not finite: the model has diverged; "
                "lower the learning rate, or use an earlier checkpoint"
            )
        return scores


def _on_cpu(catalogue: Catalogue) -> bool:
    return catalogue.vectors.device.type == "cpu"


def _computes_all(catalogue: Catalogue) -> bool:
    return catalogue.scores is not None and catalogue.scores.all_items


def _scores_per_tile(catalogue: Catalogue) -> int:
    values = 1 if catalogue.scores is None else catalogue.scores.values_per_score
    return (TILE_BYTES_CPU if _on_cpu(catalogue) else TILE_BYTES) // (4 * values)


def _padded(users: int) -> int:
    """The number of rows of a product of this many users: a multiple of `LEAST_USERS`."""
    return -(-users // LEAST_USERS) * LEAST_USERS
