"""Softmax losses: cross-entropy of each row's target over a table of columns, in linear memory.

B sequences, L inputs, M rows of the item table, E embedding, R predicted positions of the batch, H masked columns per
row, C rows per chunk. `models.losses.candidates` selects the columns and their multiplicities.
"""

from functools import partial, reduce
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.utils.checkpoint import checkpoint

from models.losses.loss import LossInputs, Scores

MASKED = -1e4
CHUNK_BYTES = {"cpu": 1 << 25, "cuda": 1 << 28}  # of logits per chunk
TILE_COLUMNS = {"cpu": 384}  # of logits that are computed at once; all where launches cost more


def softmax_of_batch(
    states: Tensor, table: Tensor, batch: LossInputs, *, scores: Scores | None = None
) -> Tensor:
    """The softmax loss of a batch, which `InBatch`, `Full` and `Sampled` compute over their columns.

    Args:
        states: (R, E) user states at the rows of the batch.
        table: (M + 1, E) item embeddings; row 0 is padding.
        batch: targets, weights and columns.
        scores: computes the scores; None for dot products.
    """
    loss = softmax_loss if scores is None else partial(softmax_of_scores, scores=scores)
    return loss(
        states,
        table,
        batch.targets,
        weights=batch.weights,
        bias=batch.bias,
        log_counts=batch.log_counts,
        hidden=batch.hidden_of_rows(),
    )


def in_batch_loss(users: Tensor, items: Tensor, ids: Tensor, log_popularity: Tensor) -> Tensor:
    """Cross-entropy of every position's next item against all items of the batch.

    The logit of a column is the dot product minus the log popularity of its item (sampling-bias correction, Yi et al.
    2019, as in arXiv 2404.02059). Every *occurrence* in `ids` is a column. Columns of padding, and of all items in the
    row's own sequence except its target, are masked. All occurrences of an item have the same logit. They are merged
    into one column, to which the log of the multiplicity is added: the same value in less memory.

    Args:
        users: (B, L, E) states after each input.
        items: (M, E) item table; row 0 is padding.
        ids: (B, L + 1) rows of `items`, left-padded with 0: the inputs and, shifted by one, the targets.
        log_popularity: (M,) log of each item's share of the training interactions.

    Returns:
        The mean over the R real positions, a scalar in float32.
    """
    rows = (ids[:, :-1] != 0).flatten().nonzero().squeeze(1)
    weights = users.new_full(rows.shape, 1 / max(len(rows), 1), dtype=torch.float32)
    counts = torch.bincount(ids.flatten(), minlength=len(items))
    counts[0] = 0  # padding is not a column
    return softmax_loss(
        users.flatten(0, 1).index_select(0, rows),
        items,
        ids[:, 1:].flatten().index_select(0, rows),
        weights=weights,
        bias=-log_popularity,
        log_counts=counts.float().log(),
        hidden=ids.index_select(0, rows // (ids.shape[1] - 1)),
    )


def softmax_loss(
    states: Tensor,
    items: Tensor,
    targets: Tensor,
    *,
    weights: Tensor,
    bias: Tensor,
    log_counts: Tensor,
    hidden: Tensor | None = None,
) -> Tensor:
    """Cross-entropy of each row's target against columns with multiplicities.

    With z_j = u·v_j + bias_j, the loss of a row with target t is log(exp z_t + Σ_{j≠t} count_j exp z_j) - z_t. The
    target counts once, regardless of its multiplicity.

    Args:
        states: (R, E) user states of the rows.
        items: (M, E) item table; row 0 is padding.
        targets: (R,) rows of `items`.
        weights: (R,) weight of each row in the loss: 1/R for the mean; 0 for a row without a prediction.
        bias: (M,) added to the logits of each column; finite for every target and every column that counts.
        log_counts: (M,) log of the multiplicity of each column; -inf for a column that does not count, such as padding.
        hidden: (R, H) columns that are masked in each row, except its target; None masks none.

    Returns:
        The weighted sum over the R rows, a scalar in float32; 0 if there are no rows.
    """
    with torch.autocast(states.device.type, enabled=False):
        columns = (bias.float(), log_counts.float())
        return _Softmax.apply(states.float(), items.float(), targets, hidden, weights, *columns)


def softmax_of_scores(
    states: Tensor,
    items: Tensor,
    targets: Tensor,
    *,
    scores: Scores,
    weights: Tensor,
    bias: Tensor,
    log_counts: Tensor,
    hidden: Tensor | None = None,
) -> Tensor:
    """`softmax_loss` with z_j = scores(u, v_j) + bias_j.

    Scores are computed in chunks of rows, and again in the backward pass, so that they need no memory for all R·M.

    Args:
        states: (R, E) vectors of the rows.
        items: (M, F) item table; row 0 is padding.
        targets: (R,) rows of `items`.
        scores: computes the scores.
        weights: (R,) weight of each row.
        bias: (M,) added to the scores of each column.
        log_counts: (M,) log of the multiplicity of each column.
        hidden: (R, H) columns that are masked in each row, except its target; None masks none.

    Returns:
        The weighted sum over the R rows, a scalar; 0 if there are no rows.
    """

    def losses(here: Tensor, target: Tensor, own: Tensor) -> Tensor:
        """(C, E), (C, 1), (C, H) -> (C,)."""
        found = scores(here, items) + bias
        logits = (found + log_counts).scatter(1, own, MASKED + log_counts[own].to(found.dtype))
        logits = logits.scatter(1, target, found.gather(1, target))
        return F.cross_entropy(logits, target.squeeze(1), reduction="none")

    own = targets[:, None] if hidden is None else hidden  # the target's own logit is set later
    chunk_bytes = CHUNK_BYTES[items.device.type]
    size = max(1, chunk_bytes // (4 * len(items) * scores.values_per_score))
    parts = [x.split(size) for x in (states, targets[:, None], own)]
    if len(states) <= size:
        return (losses(states, targets[:, None], own) * weights).sum()
    found = [checkpoint(losses, *chunk, use_reentrant=False) for chunk in zip(*parts, strict=True)]
    return (torch.cat(found) * weights).sum()


class _Softmax(torch.autograd.Function):
    """Σ weight·(logsumexp(logits) - logits[target]) over R rows, with C rows of logits (C, M) at a time.

    The gradient of a row of logits is softmax(logits) - onehot(target). The forward pass already computes it, so it
    accumulates the gradients of states and items there and keeps no (R, M) matrix for the backward pass.

    The logits of a chunk are K tiles of T columns, (K, C, T), because a product is twice as fast whose result fits a
    core's cache: a loss over 20,000 items takes 0.65 to 0.75 times as long as with whole rows. T is no power of two, for
    which the rows of a transposed tile would share a few sets of the cache.
    """

    @staticmethod
    def forward(
        ctx: Any,
        states: Tensor,
        items: Tensor,
        targets: Tensor,
        hidden: Tensor | None,
        weights: Tensor,
        bias: Tensor,
        log_counts: Tensor,
    ) -> Tensor:
        """(R, E), (M, E), (R,), (R, H) masked columns, (R,), (M,), (M,) of all but targets -> ()."""
        loss = states.new_zeros(())
        wanted = any(ctx.needs_input_grad)
        of_states, of_items = torch.zeros_like(states), torch.zeros_like(items)
        of_columns = bias + log_counts
        at_target = (states * items.index_select(0, targets)).sum(1)
        at_target = (at_target + bias.index_select(0, targets))[:, None]
        width = min(len(items), TILE_COLUMNS.get(items.device.type, len(items)))
        tiles = [slice(x, min(x + width, len(items))) for x in range(0, len(items), width)]
        size = max(1, min(len(states), CHUNK_BYTES[items.device.type] // (4 * len(items))))
        buffer = states.new_empty(len(tiles), size, width)
        for start in range(0, len(states), size):
            chunk = slice(start, start + size)
            here, weight = states[chunk], weights[chunk]
            logits = buffer[:, : len(here)]
            parts = [part[:, : x.stop - x.start] for part, x in zip(logits, tiles, strict=True)]
            for part, x in zip(parts, tiles, strict=True):
                torch.addmm(of_columns[x], here, items[x].T, out=part)
            row = torch.arange(len(here), device=states.device)[:, None]
            if hidden is not None:
                own = hidden[chunk]
                logits.index_put_((own // width, row, own % width), states.new_full((), -torch.inf))
            target = (targets[chunk, None] // width, row, targets[chunk, None] % width)
            logits.index_put_(target, at_target[chunk])
            # From here on, exponentials: softmax times `total`.
            peak = reduce(torch.maximum, [part.amax(1, keepdim=True) for part in parts])
            sums = [part.sub_(peak).exp_().sum(1, keepdim=True) for part in parts]
            total = reduce(torch.add, sums)
            of_target = at_target[chunk] - peak
            loss += weight @ (total.log() - of_target).squeeze(1)
            if wanted:
                logits.index_put_(target, of_target.exp() - total)
                scale = weight[:, None] / total
                scaled, gradient = here * scale, of_states[chunk]
                for part, x in zip(parts, tiles, strict=True):
                    gradient.addmm_(part, items[x])
                    of_items[x].addmm_(part.T, scaled)
                gradient *= scale
        ctx.save_for_backward(of_states, of_items)
        return loss

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        """() -> (R, E), (M, E)."""
        of_states, of_items = ctx.saved_tensors
        return gradient * of_states, gradient * of_items, None, None, None, None, None
