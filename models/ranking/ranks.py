"""Full-catalogue ranking by counting, in bounded memory.

Rank = 1 + (items scored above the target) + half of those scored equal, the target excluded. So a
constant model scores chance, and items with equal content do not rank first for free. A target that is left out of
its own user's ranking is not found at any rank: infinity, at which every metric is 0.

B users at a time, N items, C of them in the catalogue, R distinct ones, P pairs of a user and a masked item,
E embedding.
"""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from models.machine.parallel import gather_shares, share
from models.ranking.catalogue import Catalogue, score
from models.recommender import Recommender
from toolkit.console.progress import track
from toolkit.splits import Evaluation

SCORES_BYTES = 1 << 28  # scores held at a time
SCORES_BYTES_CPU = 1 << 23  # few enough to stay in its caches while they are compared
USERS_AT_ONCE = 4096


@torch.no_grad()
def rank_targets(
    model: Recommender, catalogue: Catalogue, evaluation: Evaluation, *, progress: bool = False
) -> NDArray[np.float64]:
    """Rank of every user's target, (S,), the work shared between processes; infinite where it can never hit.

    Memory follows the interactions: one long history makes no other user's larger.

    Args:
        model: in evaluation mode.
        catalogue: from `encode_catalogue`.
        evaluation: inputs, targets and what is masked.
        progress: whether to draw a bar.

    Raises:
        UserError: if a score is not finite.
    """
    device = catalogue.embeddings.device
    chunks = share(len(evaluation)).split(USERS_AT_ONCE)
    size = _users_a_block(catalogue)
    ranks = []
    for rows in track(chunks, "rank", total=len(chunks), enabled=progress):
        numpy_rows = rows.numpy()
        inputs = torch.from_numpy(evaluation.inputs[numpy_rows].astype(np.int64)).to(device)
        targets = torch.from_numpy(evaluation.targets[numpy_rows].astype(np.int64)).to(device)
        masked = _masked(evaluation, numpy_rows)
        users = model.encode_users(inputs, catalogue.embeddings)
        for start in range(0, len(rows), size):
            block = slice(start, start + size)
            first, end = np.searchsorted(masked[0], (start, start + size))
            hidden = [torch.from_numpy(part[first:end]).to(device) for part in masked]
            scores = score(users[block], catalogue)
            pairs = (hidden[0] - start, hidden[1])
            ranks.append(count_ranks(scores, targets[block], pairs, catalogue))
    return gather_shares(torch.cat(ranks), len(evaluation)).cpu().numpy()


def _users_a_block(catalogue: Catalogue) -> int:
    """Users whose scores fit into the block that suits the device."""
    room = SCORES_BYTES_CPU if catalogue.vectors.device.type == "cpu" else SCORES_BYTES
    return max(1, room // (4 * max(len(catalogue.counts), 1)))


def count_ranks(
    scores: Tensor, targets: Tensor, masked: tuple[Tensor, Tensor], catalogue: Catalogue
) -> Tensor:
    """Ranks by counting: all columns first, then the masked items taken off again.

    1 + above + (equal - 1) / 2 is (1 + items + above - below) / 2, so that the sum of the signs of
    `scores - target` is all it takes. A target that is itself masked is not among the ranked items: its rank is
    infinite.

    Args:
        scores: (B, R), finite.
        targets: (B,) item numbers in the catalogue.
        masked: (P,) rows of users and (P,) numbers of items that are left out for them, each pair once.
        catalogue: whose columns the scores are.

    Returns:
        (B,) float64.
    """
    target = scores.gather(1, catalogue.column[targets][:, None])
    signs = (scores - target).sign_().to(catalogue.counts.dtype)
    rows, items = masked
    ranked = catalogue.column[items] >= 0
    rows, items = rows[ranked], items[ranked]
    # Sums of whole numbers are exact in float32 up to 2^24 items, in whichever order they are added.
    theirs = catalogue.counts.new_zeros(len(scores))
    theirs.index_add_(0, rows, signs[rows, catalogue.column[items]])
    hidden = torch.bincount(rows, minlength=len(scores))
    open_items = catalogue.counts.sum().double() - hidden
    above_less_below = (signs @ catalogue.counts - theirs).double()
    ranks = (1 + open_items + above_less_below) / 2
    ranks[rows[items == targets[rows]]] = torch.inf
    return ranks


def _masked(
    evaluation: Evaluation, rows: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """(P,) indices into `rows`, ascending, and (P,) the items masked for them; targets that may repeat are not."""
    users, items = evaluation.masked_pairs(rows)
    if evaluation.target_can_repeat:
        kept = items != evaluation.targets[rows][users]
        users, items = users[kept], items[kept]
    return users, items.astype(np.int64)
