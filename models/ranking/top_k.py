"""The top-k items of a catalogue per user.

B users per block, C catalogue items, R distinct catalogue items, E embedding.
"""

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from models.ranking.catalogue import Catalogue, score

USERS_AT_ONCE = 4096
SCORES_BYTES = 1 << 28  # of the scores per block; top-k needs about as much memory again
SCORES_BYTES_CPU = 1 << 25
GROUP = 64  # columns whose maximum is compared first


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


def users_at_once(catalogue: Catalogue) -> int:
    """Number of users per block, whose scores are in memory at once."""
    on_cpu = catalogue.column.device.type == "cpu"
    limit_bytes = SCORES_BYTES_CPU if on_cpu else SCORES_BYTES
    return min(USERS_AT_ONCE, catalogue.users_at_once(limit_bytes))


@torch.no_grad()
def top_k_items(users: Tensor, catalogue: Catalogue, masked: tuple[Tensor, Tensor], k: int) -> TopK:
    """The top-k items per user. Items with equal scores are ordered by item number on every device.

    Args:
        users: (B, E) user states.
        catalogue: the items that may be recommended.
        masked: (P,) user rows and (P,) item numbers of the pairs that are not recommended.
        k: number of items per user; fewer if fewer unmasked items remain.

    Raises:
        UserError: if a score is not finite.
    """
    return select_top_k(score(users, catalogue), catalogue, masked, k)


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
    every = torch.arange(len(catalogue.column), device=catalogue.column.device)
    items = every[catalogue.ranks(every)]
    column = catalogue.column[items]
    if not torch.equal(column, torch.arange(scores.shape[1], device=column.device)):
        scores = scores.index_select(1, column)  # unless column c already is the c-th item
    item_columns = torch.full_like(catalogue.column, -1)
    item_columns[items] = torch.arange(len(items), device=items.device)
    rows, columns = masked[0], item_columns[masked[1]]
    scores[rows[columns >= 0], columns[columns >= 0]] = -torch.inf
    chosen = _candidates(scores, min(k, len(items)))
    values = scores[chosen].cpu().numpy()
    chosen_rows, numbers = chosen[0].cpu().numpy(), items[chosen[1]].cpu().numpy()
    order = np.lexsort([-values, chosen_rows])
    ranks = 1 + np.arange(len(order)) - np.searchsorted(chosen_rows, chosen_rows)
    kept = ranks <= k
    order = order[kept]
    return TopK(chosen_rows[order], ranks[kept].astype(np.int32), numbers[order], values[order])


def _candidates(scores: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """Rows and columns of a few scores per row, in ascending order, among them the k largest and all ties with them.

    Columns are read in groups of G. The k-th largest maximum of a group is a lower bound of the k-th largest score, so only
    groups whose maximum reaches it have candidates. Masked scores, -inf, are none.

    Args:
        scores: (B, C), C at least k.
        k: at least 1.
    """
    users, count = scores.shape
    size = max(1, min(GROUP, count // k))  # of a group; there are at least k groups
    whole = count // size * size
    maxima = scores[:, :whole].reshape(users, -1, size).amax(2)
    if whole < count:
        maxima = torch.cat([maxima, scores[:, whole:].amax(1, keepdim=True)], dim=1)
    least = maxima.topk(k, dim=1).values[:, -1:].clamp(min=torch.finfo(scores.dtype).min)
    rows, groups = (maxima >= least).nonzero(as_tuple=True)
    columns = groups[:, None] * size + torch.arange(size, device=scores.device)
    inside = columns < count
    values = scores[rows[:, None], columns.clamp(max=count - 1)]
    chosen = (inside & (values >= least[rows])).nonzero(as_tuple=True)
    return rows[chosen[0]], columns[chosen]
