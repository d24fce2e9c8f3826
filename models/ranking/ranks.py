"""Full-catalogue ranking by counting, in bounded memory.

Rank = 1 + (items scored above the target) + half of the items scored equal, the target excluded. So a constant model
scores at chance level, and items with equal content gain no advantage from ties. A target that is masked for its own
user has rank infinity, where every metric is 0.

B users per block, N items, C catalogue items, R distinct catalogue items, P pairs of a user and a masked item,
E embedding.
"""

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from models.inputs.users import Users
from models.machine.parallel import gather_shares, share
from models.ranking.catalogue import Catalogue, score
from models.ranking.scorer import Scorer
from models.ranking.top_k import select_top_k
from toolkit.console.progress import track
from toolkit.splits import Evaluation

SCORES_BYTES = 1 << 28  # of the scores per block
SCORES_BYTES_CPU = 1 << 23  # a block that stays in the CPU's caches while its scores are compared
USERS_AT_ONCE = 4096


class Ranked(NamedTuple):
    """The ranks of targets, and the top-k lists of the same rankings.

    Args:
        ranks: (R,) float64; infinity for a masked target.
        lists: (R, k) int32 item numbers by rank, 0 at the end where fewer than k items are ranked.
    """

    ranks: NDArray[np.float64]
    lists: NDArray[np.int32]


def rank_targets(
    model: Scorer, catalogue: Catalogue, evaluation: Evaluation, *, progress: bool = False
) -> NDArray[np.float64]:
    """Rank of each target, (R,); infinity for a masked target: `rank_and_list` without lists."""
    return rank_and_list(model, catalogue, evaluation, k=0, progress=progress).ranks


@torch.no_grad()
def rank_and_list(
    model: Scorer,
    catalogue: Catalogue,
    evaluation: Evaluation,
    *,
    k: int,
    progress: bool = False,
) -> Ranked:
    """Ranks each target, and lists the top-k items for the same inputs, from one pass. Processes divide the work.

    Users who were not trained on have row 0 (`models.inputs.users.Users`).

    A list has the items of the catalogue that are not masked; a target that is added to its own ranking alone is in no
    list. Items with equal scores are listed by item number (`models.ranking.top_k`), whereas they share their mean rank.

    Memory is proportional to the number of interactions: masked items are pairs, not rows padded to the longest
    history.

    Args:
        model: in evaluation mode.
        catalogue: from `encode_catalogue`, with the evaluation's catalogue and new targets.
        evaluation: inputs, targets and masked items.
        k: number of items per list; 0 for no lists.
        progress: whether to draw a progress bar.

    Raises:
        UserError: if a score is not finite.
    """
    device = catalogue.embeddings.device
    chunks = share(len(evaluation)).split(USERS_AT_ONCE)
    on_cpu = catalogue.vectors.device.type == "cpu"
    size = catalogue.users_at_once(SCORES_BYTES_CPU if on_cpu else SCORES_BYTES)
    ranks, lists = [], []
    for rows in track(chunks, "rank", total=len(chunks), enabled=progress):
        numpy_rows = rows.numpy()
        inputs = torch.from_numpy(evaluation.inputs[numpy_rows].astype(np.int64)).to(device)
        targets = torch.from_numpy(evaluation.targets[numpy_rows].astype(np.int64)).to(device)
        masked = _masked(evaluation, numpy_rows)
        times = None
        if evaluation.input_times is not None:
            times = torch.from_numpy(evaluation.input_times[numpy_rows]).to(device)
        asked = Users(inputs, torch.from_numpy(evaluation.rows[numpy_rows]).to(device), times)
        users = model.user_vectors(asked, catalogue.tables)
        for start in range(0, len(rows), size):
            block = slice(start, start + size)
            first, end = np.searchsorted(masked[0], (start, start + size))
            hidden = [torch.from_numpy(part[first:end]).to(device) for part in masked]
            scores = score(users[block], catalogue)
            pairs = (hidden[0] - start, hidden[1])
            ranks.append(count_ranks(scores, targets[block], pairs, catalogue))
            listed = torch.zeros(len(scores), k, dtype=torch.int32)
            if k:
                top_k = select_top_k(scores, catalogue, pairs, k)
                listed[top_k.rows, top_k.ranks - 1] = torch.from_numpy(top_k.items.astype(np.int32))
            lists.append(listed)
    return Ranked(
        gather_shares(torch.cat(ranks), len(evaluation)).cpu().numpy(),
        gather_shares(torch.cat(lists).to(device), len(evaluation)).cpu().numpy(),
    )


def count_ranks(
    scores: Tensor, targets: Tensor, masked: tuple[Tensor, Tensor], catalogue: Catalogue
) -> Tensor:
    """Ranks by counting: counts all columns, then subtracts the masked items.

    1 + above + (equal - 1) / 2 equals (1 + items + above - below) / 2, so the sum of the signs of `scores - target`
    suffices. A masked target is not among the ranked items: its rank is infinity. A target that is appended to the
    catalogue competes with the catalogue's items, so it counts as one more item, equal to itself.

    Args:
        scores: (B, R), finite.
        targets: (B,) item numbers in the catalogue, or appended to it.
        masked: (P,) user rows and (P,) item numbers of the masked pairs, without duplicates.
        catalogue: the catalogue whose columns are scored.

    Returns:
        (B,) float64.
    """
    target = scores.gather(1, catalogue.column[targets][:, None])
    signs = (scores - target).sign_().to(catalogue.counts.dtype)
    rows, items = masked
    never_hit = rows[items == targets[rows]]
    ranked = catalogue.ranks(items)
    rows, items = rows[ranked], items[ranked]
    # float32 sums of whole numbers are exact up to 2^24 items, in any order of addition.
    masked_signs = catalogue.counts.new_zeros(len(scores))
    masked_signs.index_add_(0, rows, signs[rows, catalogue.column[items]])
    masked_counts = torch.bincount(rows, minlength=len(scores))
    ranked_counts = catalogue.counts.sum().double() - masked_counts + ~catalogue.ranks(targets)
    above_less_below = (signs @ catalogue.counts - masked_signs).double()
    ranks = (1 + ranked_counts + above_less_below) / 2
    ranks[never_hit] = torch.inf
    return ranks


def _masked(
    evaluation: Evaluation, rows: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """(P,) indices into `rows`, ascending, and (P,) masked items. A target that may repeat is not masked."""
    users, items = evaluation.masked_pairs(rows)
    if evaluation.target_can_repeat:
        kept = items != evaluation.targets[rows][users]
        users, items = users[kept], items[kept]
    return users, items.astype(np.int64)
