"""Side towers of equal shape, level by level, with one matrix product for all towers.

The results are those of each tower alone (`models.items.side_towers`), with a third of the dispatched operations
(two towers of 7 levels: 167 in place of 535, forward and backward; `benchmarks.operations`). The backward pass is written
out, because it then keeps a single gradient of the side states, which stays in the caches.

U items, T towers of states, R side towers (intra towers, inter tower or both), K levels, D width, H bottleneck.
"""

from collections.abc import Sequence
from functools import cache
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
    mixture: Tensor, states: Sequence[Tensor], blocks: Sequence[Sequence[SANB]]
) -> Tensor:
    """The last side states of R towers: f_i = M_i · [h_i; s_{i-1}], s_i = SANB_i(f_i), s_{-1} = 0.

    Args:
        mixture: (K, R, T + R) M. Its last R columns are diagonal: a tower reads no side state but its own.
        states: T tensors (U, K, D), of any floating type.
        blocks: per tower, K side blocks with ReLU and without dropout; all have equal sizes.

    Returns:
        (R, U, D).
    """
    by_level = [block for level in zip(*blocks, strict=True) for block in level]
    down, up = [block.down for block in by_level], [block.up for block in by_level]
    sides: Tensor = _Levels.apply(
        torch.is_grad_enabled(),
        mixture,
        torch.stack([linear.weight for linear in down]),
        torch.stack([linear.bias for linear in down]),
        torch.stack([linear.weight for linear in up]),
        torch.stack([linear.bias for linear in up]),
        *states,
    )
    return sides


def mixture_of(
    gates: Sequence[Tensor], *, levels: int, towers: int, intra: bool, inter: bool, like: Tensor
) -> Tensor:
    """What the side blocks of each level read, (K, R, T + R): M of `run_levels`. Linear in the gates.

    Args:
        gates: of the intra towers, (K,) each, then of the inter tower, (K,) for two towers and (K, T) for more; empty if
            states are added without gates.
        levels: K.
        towers: T.
        intra: whether there is an intra tower per tower of states, in the same order.
        inter: whether there is an inter tower, the last.
        like: a tensor of the result's type and device.
    """
    constant, slopes = _mixing(towers, intra, inter, bool(gates), like.dtype, like.device)
    if not gates:
        return constant.expand(levels, *constant.shape)
    values = torch.cat([gate.reshape(levels, -1) for gate in gates], dim=1)
    mixture = torch.addmm(constant.flatten(), values, slopes.flatten(1))
    return mixture.unflatten(1, constant.shape)


@cache
def _mixing(
    towers: int, intra: bool, inter: bool, gated: bool, dtype: torch.dtype, device: torch.device
) -> tuple[Tensor, Tensor]:
    """(R, T + R) C and (V, R, T + R) S for V gates g: M = C + Σ_v g_v·S_v."""
    own = towers if intra else 0
    rows, of_inter = own + inter, (1 if towers == 2 else towers) if inter else 0
    constant = torch.zeros(rows, towers + rows)
    constant[:, towers:].fill_diagonal_(1)
    slopes = torch.zeros(own + of_inter if gated else 0, rows, towers + rows)
    if not gated:  # h + s, or Σ_t h_t + s
        constant[:own, :towers].fill_diagonal_(1)
        constant[own:, :towers] = 1
    elif own:  # g·h + (1 - g)·s
        slopes[:own, :own, :own] = torch.diag_embed(torch.eye(own))
        slopes[:own, :own, towers : towers + own] = -torch.diag_embed(torch.eye(own))
    if gated and of_inter == 1:  # (1 - g)·h_0 + g·h_1 + s
        constant[-1, 0] = 1
        slopes[-1, -1, :towers] = torch.tensor([-1.0, 1.0])
    elif gated and inter:  # Σ_t w_t·h_t + s
        slopes[own:, -1, :towers] = torch.eye(of_inter)
    return constant.to(device, dtype), slopes.to(device, dtype)


class _Levels(torch.autograd.Function):
    """(K, R, T + R), (K·R, H, D), (K·R, H), (K·R, D, H), (K·R, D), T times (U, K, D) -> (R, U, D)."""

    @staticmethod
    def forward(
        ctx: Any,
        keep: bool,
        mixture: Tensor,
        down: Tensor,
        down_bias: Tensor,
        up: Tensor,
        up_bias: Tensor,
        *states: Tensor,
    ) -> Tensor:
        (levels, rows, columns), (items, _, width) = mixture.shape, states[0].shape
        towers = columns - rows
        down, down_bias, up, up_bias = (
            x.unflatten(0, (levels, rows)) for x in (down, down_bias, up, up_bias)
        )
        kept = levels if keep else 1  # levels in memory: the backward pass reads all
        read = mixture.new_empty(kept, columns, items, width)  # h_i and s_{i-1}
        read[0, towers:].zero_()
        last = mixture.new_empty(rows, items, width)
        mixed = mixture.new_empty(kept, rows, items, width)  # f_i
        inner = mixture.new_empty(kept, rows, items, down.shape[2])
        for i in range(levels):
            now = i % kept
            side = read[(i + 1) % kept, towers:] if i + 1 < levels else last
            torch.stack([of_tower[:, i] for of_tower in states], out=read[now, :towers])
            torch.mm(mixture[i], read[now].flatten(1), out=mixed[now].flatten(1))
            torch.baddbmm(down_bias[i, :, None], mixed[now], down[i].mT, out=inner[now])
            inner[now].relu_()
            torch.add(mixed[now], up_bias[i, :, None], out=side)
            side.baddbmm_(inner[now], up[i].mT)
        ctx.save_for_backward(mixture, down, up, read, mixed, inner)
        return last

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        """The gradient of s_i is c_i·G_i, where c_i is a product of gates: G_{i-1} = G_i + W_down' · relu'(W_up' · G_i).

        With d_i the weight of s_{i-1} in f_i, c_i = d_{i+1} · … · d_{K-1}. So gates scale the results alone.
        """
        mixture, down, up, read, mixed, inner = ctx.saved_tensors
        levels, rows, columns = mixture.shape
        carried = mixture[:, :, columns - rows :].diagonal(dim1=1, dim2=2)
        scales = F.pad(carried[1:], (0, 0, 0, 1), value=1.0).flip(0).cumprod(0).flip(0)  # c
        scales = scales[:, :, None, None]
        gradient = gradient.clone()  # G_i, and in place G_{i-1}
        of_mixture, of_inner = torch.empty_like(mixture), torch.empty_like(inner)
        of_up, of_up_bias = torch.empty_like(up), up.new_empty(levels, rows, 1, up.shape[2])
        for i in reversed(range(levels)):
            torch.bmm(gradient.mT, inner[i], out=of_up[i])
            torch.sum(gradient, 1, keepdim=True, out=of_up_bias[i])
            torch.ops.aten.threshold_backward.grad_input(
                torch.bmm(gradient, up[i]), inner[i], 0, grad_input=of_inner[i]
            )
            gradient.baddbmm_(of_inner[i], down[i])
            torch.mm(gradient.flatten(1), read[i].flatten(1).mT, out=of_mixture[i])
        of_inner.mul_(scales)
        return (
            None,
            of_mixture.mul_(scales[..., 0]),
            torch.matmul(of_inner.mT, mixed).flatten(0, 1),
            of_inner.sum(2).flatten(0, 1),
            of_up.mul_(scales).flatten(0, 1),
            of_up_bias.mul_(scales).flatten(0, 2),
            *[None] * (columns - rows),
        )
