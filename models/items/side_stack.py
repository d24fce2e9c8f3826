"""Side towers of equal shape, level by level, with one matrix product for all towers.

The results are those of each tower alone (`models.items.side_towers`), with a third of the dispatched operations
(two towers of 7 levels: 169 in place of 535, forward and backward; `benchmarks.operations`). The backward pass is written
out, because it then keeps a single gradient of the side states, which stays in the caches.

U items, T towers of states, R side towers (intra towers, inter tower or both), K levels, D width, H bottleneck.
"""

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from models.items.side_blocks import SANB


def can_stack(states: Sequence[Tensor]) -> bool:
    """Whether `run_levels` supports the states and the current mode of PyTorch.

    States of trained encoders or projections require gradients, mixed precision casts inside the blocks, and a compiler
    fuses the operations of the towers itself.
    """
    return not (
        torch.compiler.is_compiling()
        or torch.is_autocast_enabled(states[0].device.type)
        or any(x.requires_grad for x in states)
    )


def run_levels(
    states: Sequence[Tensor],
    blocks: Sequence[Sequence[SANB]],
    *,
    gates: Tensor | None,
    weights: Tensor | None,
) -> Tensor:
    """The last side states of the intra towers and, if it has weights, of the inter tower: s_i = SANB_i(f_i), s_{-1} = 0.

    f_i is g_i·h_i + (1 - g_i)·s_{i-1} in an intra tower, h_i + s_{i-1} without gates, and s_{i-1} + Σ_t w_{i,t}·h_{i,t} in
    the inter tower.

    Args:
        states: T tensors (U, K, D), of any floating type.
        blocks: per side tower, K side blocks with ReLU and without dropout; all have equal sizes. There are T intra
            towers, in the order of the states, or none; the inter tower is the last.
        gates: (K, T), of the intra towers; None without gates.
        weights: (K, T), of the inter tower; None if there is none.

    Returns:
        (R, U, D).
    """
    by_level = [block for level in zip(*blocks, strict=True) for block in level]
    down, up = [block.down for block in by_level], [block.up for block in by_level]
    sides: Tensor = _Levels.apply(
        torch.is_grad_enabled(),
        gates,
        weights,
        torch.stack([linear.weight for linear in down]),
        torch.stack([linear.bias for linear in down]),
        torch.stack([linear.weight for linear in up]),
        torch.stack([linear.bias for linear in up]),
        *states,
    )
    return sides


class _Levels(torch.autograd.Function):
    """(K, T), (K, T), (K·R, H, D), (K·R, H), (K·R, D, H), (K·R, D), T times (U, K, D) -> (R, U, D)."""

    @staticmethod
    def forward(
        ctx: Any,
        keep: bool,
        gates: Tensor | None,
        weights: Tensor | None,
        down: Tensor,
        down_bias: Tensor,
        up: Tensor,
        up_bias: Tensor,
        *states: Tensor,
    ) -> Tensor:
        towers, (items, levels, width) = len(states), states[0].shape
        down, down_bias, up, up_bias = (
            x.unflatten(0, (levels, -1)) for x in (down, down_bias, up, up_bias)
        )
        rows = down.shape[1]
        intra = rows - (weights is not None)
        kept = levels if keep else 1  # levels in memory: the backward pass reads all
        read = down.new_empty(kept, towers + rows, items, width)  # h_i and s_{i-1}
        read[0, towers:].zero_()
        last = down.new_empty(rows, items, width)
        mixed = down.new_empty(kept, rows, items, width)  # f_i
        inner = down.new_empty(kept, rows, items, down.shape[2])
        for i in range(levels):
            now = i % kept
            if not now:
                for tower, of_tower in enumerate(states):
                    read[:, tower].copy_(of_tower[:, i : i + kept].transpose(0, 1))
            state, before, here = read[now, :towers], read[now, towers:], mixed[now]
            if gates is not None:
                torch.lerp(before[:intra], state, gates[i, :, None, None], out=here[:intra])
            elif intra:
                torch.add(before[:intra], state, out=here[:intra])
            if weights is not None:
                start = before[intra:].flatten(1)
                torch.addmm(start, weights[i, None], state.flatten(1), out=here[intra:].flatten(1))
            torch.baddbmm(down_bias[i, :, None], here, down[i].mT, out=inner[now])
            inner[now].relu_()
            side = read[(i + 1) % kept, towers:] if i + 1 < levels else last
            torch.add(here, up_bias[i, :, None], out=side)
            side.baddbmm_(inner[now], up[i].mT)
        ctx.save_for_backward(gates, weights, down, up, read, mixed, inner)
        return last

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        """The gradient of s_i is c_i·G_i, where c_i is a product of gates: G_{i-1} = G_i + W_down' · relu'(W_up' · G_i).

        With d_i = 1 - g_i in an intra tower with gates, and 1 in others, c_i = d_{i+1} · … · d_{K-1}. So gates scale the
        results alone.
        """
        gates, weights, down, up, read, mixed, inner = ctx.saved_tensors
        levels, rows = inner.shape[:2]
        towers = read.shape[1] - rows
        carried = torch.empty_like(gradient)  # G_{i-1}
        of_inner, of_up = torch.empty_like(inner), torch.empty_like(up)
        of_up_bias = up.new_empty(levels, rows, 1, up.shape[2])
        of_gates = None if gates is None else up.new_empty(levels, towers, 1, 2)
        of_weights = None if weights is None else torch.empty_like(weights)
        for i in reversed(range(levels)):
            torch.bmm(gradient.mT, inner[i], out=of_up[i])
            torch.sum(gradient, 1, keepdim=True, out=of_up_bias[i])
            torch.ops.aten.threshold_backward.grad_input(
                torch.bmm(gradient, up[i]), inner[i], 0, grad_input=of_inner[i]
            )
            gradient = torch.baddbmm(gradient, of_inner[i], down[i], out=carried)
            flat, found = read[i].flatten(1), carried.flatten(1)
            if of_gates is not None:  # the products of G_{i-1} with h_i and s_{i-1}
                pairs = flat[: 2 * towers].unflatten(0, (2, towers)).permute(1, 2, 0)
                torch.bmm(found[:towers, None], pairs, out=of_gates[i])
            if of_weights is not None:
                torch.mv(flat[:towers], found[-1], out=of_weights[i])
        if of_gates is not None:
            scales = F.pad(1 - gates[1:], (0, rows - towers, 0, 1), value=1.0)
            scales = scales.flip(0).cumprod(0).flip(0)[:, :, None, None]  # c
            for x in (of_inner, of_up, of_up_bias):
                x.mul_(scales)
            of_gates = (of_gates[:, :, 0, 0] - of_gates[:, :, 0, 1]) * scales[:, :towers, 0, 0]
        return (
            None,
            of_gates,
            of_weights,
            torch.matmul(of_inner.mT, mixed).flatten(0, 1),
            of_inner.sum(2).flatten(0, 1),
            of_up.flatten(0, 1),
            of_up_bias.flatten(0, 2),
            *[None] * towers,
        )
