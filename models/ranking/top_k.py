"""The best items of a catalogue for each user: what is recommended.

B users at a time, C items of the catalogue, R distinct ones, E embedding.
"""

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from models.ranking.catalogue import Catalogue, score

USERS_AT_ONCE = 4096
SCORES_BYTES = 1 << 28  # scores held at a time; what is made of them takes as much again
SCORES_BYTES_CPU = 1 << 25


class Best(NamedTuple):
    """Recommended items, by user and rank.

    Args:
        rows: of the users, from 0.
        ranks: of the items, from 1.
        items: their numbers.
        scores: theirs.
    """

    rows: NDArray[np.int64]
    ranks: NDArray[np.int32]
    items: NDArray[np.int64]
    scores: NDArray[np.float32]


def users_at_once(catalogue: Catalogue) -> int:
    """Users whose scores of the catalogue are held at a time."""
    room = SCORES_BYTES_CPU if catalogue.column.device.type == "cpu" else SCORES_BYTES
    items = int((catalogue.column >= 0).sum())
    return max(1, min(USERS_AT_ONCE, room // (4 * max(items, 1))))


@torch.no_grad()
def best_items(users: Tensor, catalogue: Catalogue, hidden: tuple[Tensor, Tensor], k: int) -> Best:
    """The k best items for each user; equal scores go by item number, whatever the device.

    Args:
        users: (B, E) user states.
        catalogue: from which items are taken.
        hidden: rows of users and numbers of items that are left out for them.
        k: how many; fewer where the catalogue has fewer left.

    Raises:
        UserError: if a score is not finite.
    """
    items = (catalogue.column >= 0).nonzero()[:, 0]
    scores, column = score(users, catalogue), catalogue.column[items]
    if not torch.equal(column, torch.arange(scores.shape[1], device=column.device)):
        scores = scores[:, column]  # a copy, which one column an item in their order spares
    place = torch.full_like(catalogue.column, -1)
    place[items] = torch.arange(len(items), device=items.device)
    rows, columns = hidden[0], place[hidden[1]]
    scores[rows[columns >= 0], columns[columns >= 0]] = -torch.inf
    last = scores.topk(min(k, len(items)), dim=1).values[:, -1:]
    # All that are as good as the last one, of which topk takes any; what is left out never is.
    chosen = (scores >= last.clamp(min=torch.finfo(scores.dtype).min)).nonzero()
    values = scores[chosen[:, 0], chosen[:, 1]].cpu().numpy()
    rows_found, numbers = chosen[:, 0].cpu().numpy(), items[chosen[:, 1]].cpu().numpy()
    order = np.lexsort([-values, rows_found])
    ranks = 1 + np.arange(len(order)) - np.searchsorted(rows_found, rows_found)
    kept = ranks <= k
    order = order[kept]
    return Best(rows_found[order], ranks[kept].astype(np.int32), numbers[order], values[order])
