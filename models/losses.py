"""The debiased in-batch softmax loss of IISAN-Versa, in memory linear in the batch.

B sequences, L inputs, M rows of the item table, E embedding, R real positions of the batch, C positions of a
chunk.
"""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

MASKED = -1e4
CHUNK_BYTES = 1 << 26  # of logits that are held at a time


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
        length = ids.shape[1] - 1
        rows = (ids[:, :-1] != 0).flatten().nonzero().squeeze(1)
        targets = ids[:, 1:].flatten().index_select(0, rows)
        states = users.float().flatten(0, 1).index_select(0, rows)
        own = ids.index_select(0, rows // length)
        counts = torch.bincount(ids.flatten(), minlength=len(items))
        counts[0] = 0  # padding is no column
        return _Softmax.apply(
            states, items.float(), targets, own, -log_popularity.float(), counts.float().log()
        )


class _Softmax(torch.autograd.Function):
    """Mean of logsumexp(logits) - logits[target] over R rows, C rows of logits (C, M) at a time.

    The gradient of a row of logits is softmax(logits) - onehot(target), which the forward pass has at hand:
    it is multiplied into those of states and items there, and no (R, M) matrix is kept for the backward pass.
    """

    @staticmethod
    def forward(
        ctx: Any,
        states: Tensor,
        items: Tensor,
        targets: Tensor,
        own: Tensor,
        bias: Tensor,
        log_counts: Tensor,
    ) -> Tensor:
        """(R, E), (M, E), (R,), (R, L + 1) masked columns, (M,) of a column, (M,) of all but targets -> ()."""
        total = states.new_zeros(())
        wanted = any(ctx.needs_input_grad)
        of_states, of_items = torch.empty_like(states), torch.zeros_like(items)
        size = max(1, CHUNK_BYTES // (4 * len(items)))
        for start in range(0, len(states), size):
            chunk = slice(start, start + size)
            plain = torch.addmm(bias, states[chunk], items.T)
            target = targets[chunk, None]
            at_target = plain.gather(1, target)
            hidden = torch.zeros_like(plain, dtype=torch.bool).scatter_(1, own[chunk], True)
            logits = (
                plain.masked_fill_(hidden, MASKED).add_(log_counts).scatter_(1, target, at_target)
            )
            norm = logits.logsumexp(1, keepdim=True)
            total += (norm - at_target).sum()
            if wanted:
                slopes = logits.sub_(norm).exp_()
                slopes.scatter_add_(1, target, torch.full_like(at_target, -1.0))
                of_states[chunk] = slopes @ items
                of_items.addmm_(slopes.T, states[chunk])
        count = max(len(states), 1)
        ctx.save_for_backward(of_states.div_(count), of_items.div_(count))
        return total / count

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        """() -> (R, E), (M, E)."""
        of_states, of_items = ctx.saved_tensors
        return gradient * of_states, gradient * of_items, None, None, None, None
