"""Softmax attention over the computed positions of a batch, and the linear layers before it.

B sequences, L positions, P computed positions (`models.sequence.positions`), H heads, d width of a head, E = H·d.
"""

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from models.sequence.positions import HeadRows, Positions

MASKED = -1e9  # added to scores; if every key is masked, the weights are uniform instead of NaN


def attention_bias(real: Tensor, *, causal: bool) -> Tensor:
    """The values added to attention scores: 0 for visible keys, `MASKED` for padding and, if causal, for later keys.

    Args:
        real: (B, L) false at padding.
        causal: whether a position sees itself and earlier positions only.

    Returns:
        (B, 1, 1, L), or (B, 1, L, L) if causal.
    """
    visible = real[:, None, None, :]
    if causal:
        length = real.shape[1]
        visible = torch.ones(length, length, dtype=torch.bool, device=real.device).tril() & visible
    return torch.zeros(visible.shape, device=real.device).masked_fill(~visible, MASKED)


def side_by_side(layers: Sequence[nn.Module], x: Tensor) -> Tensor:
    """The outputs of n linear layers of one input and one width, joined: (P, E) -> (P, n·E).

    They are one product, unless an adaptation (`models.adaptation`) has replaced a layer or attached something to it.
    """
    if not all(_is_plain(layer) for layer in layers):
        return torch.cat([layer(x) for layer in layers], dim=-1)
    weight = torch.cat([layer.weight for layer in layers])  # type: ignore[misc]
    biases = [layer.bias for layer in layers if layer.bias is not None]
    return F.linear(x, weight, torch.cat(biases) if biases else None)  # type: ignore[arg-type]


def _is_plain(layer: nn.Module) -> bool:
    hooks = (layer._forward_hooks, layer._forward_pre_hooks, layer._backward_hooks)
    return type(layer) is nn.Linear and not any(hooks)


class Dropout(nn.Dropout):
    """`nn.Dropout` as a single operation, with the same mask; on a CPU, torch's own takes four."""

    def forward(self, x: Tensor) -> Tensor:
        """(...) -> (...)."""
        return torch.native_dropout(x, self.p, True)[0] if self.training and self.p else x


def attend(
    projected: Tensor, bias: Tensor, positions: Positions, *, heads: int, dropout: float
) -> Tensor:
    """softmax(Q Kᵀ / √d + bias) V for each head.

    Args:
        projected: (P, 3·E) queries, keys and values.
        bias: (B, 1, 1, L) or (B, 1, L, L), finite.
        positions: the computed positions.
        heads: H.
        dropout: dropout probability of the weights.

    Returns:
        (P, E).
    """
    bias = bias.to(projected.dtype)
    rows = positions.head_rows(heads)
    if rows is not None:
        with torch.autocast(projected.device.type, enabled=False):
            context: Tensor = _PackedAttention.apply(projected, bias, rows, heads, dropout)
        return context
    parts = positions.spread(projected).unflatten(-1, (3, heads, -1)).permute(2, 0, 3, 1, 4)
    query, key, value = parts.unbind()
    context = F.scaled_dot_product_attention(query, key, value, attn_mask=bias, dropout_p=dropout)
    return positions.pick(context.transpose(1, 2).flatten(2))


class _PackedAttention(torch.autograd.Function):
    """`attend` with two gathers in each direction: torch's operations would pad Q, K and V, and copy each per head.

    A padding position reads the rows of some computed position. This changes no result: keys at padding have weight 0,
    and contexts at padding are not read.
    """

    @staticmethod
    def forward(
        ctx: Any, projected: Tensor, bias: Tensor, rows: HeadRows, heads: int, dropout: float
    ) -> Tensor:
        """(P, 3·E), (B, 1, 1 or L, L) -> (P, E)."""
        count, width = len(projected), projected.shape[1] // (3 * heads)
        length = bias.shape[-1]
        padded = projected.view(-1, width).index_select(0, rows.padded)
        query, key, value = padded.view(3, -1, length, width).unbind()
        scores = torch.bmm(query, key.mT).view(len(bias), heads, length, length)
        weights = kept = torch.add(bias, scores, alpha=width**-0.5).softmax(-1)
        ctx.dropped = None
        if dropout:
            kept, ctx.dropped = torch.native_dropout(weights, dropout, True)
        context = torch.bmm(kept.view(-1, length, length), value)
        ctx.save_for_backward(padded, weights, kept)
        ctx.rows, ctx.dropout = rows, dropout
        return context.view(-1, width).index_select(0, rows.context).view(count, -1)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        """(P, E) -> (P, 3·E)."""
        padded, weights, kept = ctx.saved_tensors
        length, width = weights.shape[-1], padded.shape[1]
        query, key, value = padded.view(3, -1, length, width).unbind()
        of_context = torch.zeros_like(query)
        of_context.view(-1, width).index_copy_(0, ctx.rows.context, gradient.reshape(-1, width))
        of_padded = torch.empty_like(padded)
        of_query, of_key, of_value = of_padded.view(3, -1, length, width).unbind()
        torch.bmm(kept.view(-1, length, length).mT, of_context, out=of_value)
        of_weights = torch.bmm(of_context, value.mT).view_as(weights)
        scale = width**-0.5
        if ctx.dropped is not None:
            of_weights.mul_(ctx.dropped)
            scale /= 1 - ctx.dropout
        # The softmax's gradient: w ⊙ (g - Σ w ⊙ g).
        of_scores = torch._softmax_backward_data(of_weights, weights, -1, weights.dtype)
        of_scores = of_scores.view(-1, length, length).mul_(scale)
        torch.bmm(of_scores, key, out=of_query)
        torch.bmm(of_scores.mT, query, out=of_key)
        of_projected = of_padded.index_select(0, ctx.rows.packed)
        return of_projected.view(len(gradient), -1), None, None, None, None
