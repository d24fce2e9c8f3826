"""The debiased in-batch softmax loss of IISAN-Versa.

B sequences, L inputs, M rows of the item table, E embedding, R real positions of the batch.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

MASKED = -1e4


def in_batch_loss(users: Tensor, items: Tensor, ids: Tensor, log_popularity: Tensor) -> Tensor:
    """Cross-entropy of every position's next item against all items of the batch.

    The logit of a column is the dot product minus the log popularity of its item (sampling-bias
    correction, Yi et al. 2019, as in arXiv 2404.02059). Every *occurrence* in `ids` is a column.
    Columns of padding, and of any item that stands in the row's own sequence, are masked, the
    row's own target excepted. Occurrences of one item have one logit, so they are joined here into
    one column with the log of its multiplicity added: the same value in less memory.

    Args:
        users: (B, L, E) states after each input.
        items: (M, E) item table; row 0 is padding.
        ids: (B, L + 1) rows of `items`, left-padded with 0: inputs and, shifted by one, targets.
        log_popularity: (M,) log of each item's share of the training interactions.

    Returns:
        The mean over the R real positions, a scalar in float32.
    """
    with torch.autocast(users.device.type, enabled=False):
        batch, length = ids[:, :-1].shape
        rows = (ids[:, :-1] != 0).flatten().nonzero().squeeze(1)
        targets = ids[:, 1:].flatten().index_select(0, rows)
        states = users.float().flatten(0, 1).index_select(0, rows)
        counts = torch.bincount(ids.flatten(), minlength=len(items))
        counts[0] = 0  # padding is no column

        debiased = states @ items.float().T - log_popularity
        own = torch.zeros(batch, len(items), dtype=torch.bool, device=ids.device).scatter_(
            1, ids, True
        )
        hidden = own.index_select(0, rows // length)
        columns = debiased.masked_fill(hidden, MASKED) + counts.float().log()
        logits = columns.scatter(1, targets[:, None], debiased.gather(1, targets[:, None]))
        return F.cross_entropy(logits, targets)
