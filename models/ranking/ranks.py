"""Ranks of an evaluation's targets in the full catalogue, and top-k lists, from one pass in bounded memory.

R targets, P pairs of a user and a masked item.
"""

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from models.inputs.users import Users
from models.machine.parallel import gather_shares, share
from models.ranking.catalogue import Catalogue
from models.ranking.counting import RankCounter
from models.ranking.scorer import Scorer
from models.ranking.tiles import score_tiles, tiles_for, users_at_once
from models.ranking.top_k import TopLists
from toolkit.console.progress import track
from toolkit.splits import Evaluation

USERS_AT_ONCE = 1024  # whose vectors are computed at a time


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
    size = users_at_once(catalogue)
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
            found = _rank_block(
                users[block], catalogue, targets[block], (hidden[0] - start, hidden[1]), k
            )
            ranks.append(found[0])
            lists.append(found[1])
    return Ranked(
        gather_shares(torch.cat(ranks), len(evaluation)).cpu().numpy(),
        gather_shares(torch.cat(lists).to(device), len(evaluation)).cpu().numpy(),
    )


def _rank_block(
    users: Tensor, catalogue: Catalogue, targets: Tensor, masked: tuple[Tensor, Tensor], k: int
) -> tuple[Tensor, Tensor]:
    """(B,) ranks and (B, k) lists of a block of users."""
    tiling = tiles_for(len(users), catalogue)
    counter = RankCounter(targets, masked, catalogue, tiling)
    lists = TopLists(len(users), catalogue, masked, k, tiling) if k else None
    for tile in score_tiles(users, catalogue, tiling, catalogue.column[targets]):
        if lists is not None:
            lists.add(tile)
        counter.add(tile)  # overwrites the scores
    listed = torch.zeros(len(users), k, dtype=torch.int32)
    if lists is not None:
        top_k = lists.top_k()
        listed[top_k.rows, top_k.ranks - 1] = torch.from_numpy(top_k.items.astype(np.int32))
    return counter.ranks(), listed


def _masked(
    evaluation: Evaluation, rows: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """(P,) indices into `rows`, ascending, and (P,) masked items. A target that may repeat is not masked."""
    users, items = evaluation.masked_pairs(rows)
    if evaluation.target_can_repeat:
        kept = items != evaluation.targets[rows][users]
        users, items = users[kept], items[kept]
    return users, items.astype(np.int64)
