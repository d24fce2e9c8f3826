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
    items = (catalogue.column >= 0).nonzero()[:, 0]
    scores, column = score(users, catalogue), catalogue.column[items]
    if not torch.equal(column, torch.arange(scores.shape[1], device=column.device)):
        scores = scores[:, column]  # a copy, needed unless column c already is the c-th item
    item_columns = torch.full_like(catalogue.column, -1)
    item_columns[items] = torch.arange(len(items), device=items.device)
    rows, columns = masked[0], item_columns[masked[1]]
    scores[rows[columns >= 0], columns[columns >= 0]] = -torch.inf
    last = scores.topk(min(k, len(items)), dim=1).values[:, -1:]
    # Ties with the k-th score are all candidates, as topk picks arbitrary ones. Masked items never are.
    chosen = (scores >= last.clamp(min=torch.finfo(scores.dtype).min)).nonzero()
    values = scores[chosen[:, 0], chosen[:, 1]].cpu().numpy()
    chosen_rows, numbers = chosen[:, 0].cpu().numpy(), items[chosen[:, 1]].cpu().numpy()
    order = np.lexsort([-values, chosen_rows])
    ranks = 1 + np.arange(len(order)) - np.searchsorted(chosen_rows, chosen_rows)
    kept = ranks <= k
    order = order[kept]
    return TopK(chosen_rows[order], ranks[kept].astype(np.int32), numbers[order], values[order])
