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
        read = down.new_empty(kept, towers + rows, items, width)
        state, before = read[:, :towers], read[:, towers:]  # h_i and s_{i-1}
        before[0].zero_()
        last = down.new_empty(rows, items, width)
        mixed = down.new_empty(kept, rows, items, width)  # f_i
        inner = down.new_empty(kept, rows, items, down.shape[2])
        layers = zip(down_bias[:, :, None], down.mT, up_bias[:, :, None], up.mT, strict=True)
        for i, (b_down, w_down, b_up, w_up) in enumerate(layers):
            now = i % kept
            if not now:
                for tower, of_tower in enumerate(states):
                    state[:, tower].copy_(of_tower[:, i : i + kept].transpose(0, 1))
            h, s, f, r = state[now], before[now], mixed[now], inner[now]
            if gates is not None:
                torch.lerp(s[:intra], h, gates[i, :, None, None], out=f[:intra])
            elif intra:
                torch.add(s[:intra], h, out=f[:intra])
            if weights is not None:
                s_inter, f_inter = s[intra:].flatten(1), f[intra:].flatten(1)
                torch.addmm(s_inter, weights[i, None], h.flatten(1), out=f_inter)
            torch.baddbmm(b_down, f, w_down, out=r)
            r.relu_()
            side = before[(i + 1) % kept] if i + 1 < levels else last
            torch.add(f, b_up, out=side)
            side.baddbmm_(r, w_up)
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
        flat, found = read.flatten(2), carried.flatten(1)
        layers = enumerate(zip(down, up, inner, flat, of_inner, of_up, of_up_bias, strict=True))
        for i, (w_down, w_up, r, h_and_s, of_r, of_w_up, of_b_up) in reversed([*layers]):
            torch.bmm(gradient.mT, r, out=of_w_up)
            torch.sum(gradient, 1, keepdim=True, out=of_b_up)
            of_relu = torch.bmm(gradient, w_up)
            torch.ops.aten.threshold_backward.grad_input(of_relu, r, 0, grad_input=of_r)
            gradient = torch.baddbmm(gradient, of_r, w_down, out=carried)
            if of_gates is not None:  # the products of G_{i-1} with h_i and s_{i-1}
                pairs = h_and_s[: 2 * towers].unflatten(0, (2, towers)).permute(1, 2, 0)
                torch.bmm(found[:towers, None], pairs, out=of_gates[i])
            if of_weights is not None:
                torch.mv(h_and_s[:towers], found[-1], out=of_weights[i])
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
