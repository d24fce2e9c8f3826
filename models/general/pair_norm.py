"""Batch normalisation of the bi-interactions of all pairs of a user and an item.

B users, M items, E width of a vector.
"""

import torch
from torch import Tensor, nn

EPS, MOMENTUM = 1e-5, 0.1


class PairNorm(nn.Module):
    """Batch normalisation (arXiv 1502.03167) of h_u + s_u ⊙ v_i over the B·M pairs of a user u and an item i.

    Mean and variance over the pairs have a closed form over users and items, so neither memory nor time is needed for
    each pair: by the law of total variance, Var(h + s ⊙ v) = Var(h + s ⊙ E[v]) + E[s²] Var(v), a sum without
    cancellation. The result is an affine function of v_i for each user.

    Args:
        width: E.
    """

    running_mean: Tensor
    running_var: Tensor

    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))
        self.bias = nn.Parameter(torch.zeros(width))
        self.register_buffer("running_mean", torch.zeros(width))
        self.register_buffer("running_var", torch.ones(width))

    def forward(self, total: Tensor, pairs: Tensor, items: Tensor) -> tuple[Tensor, Tensor]:
        """The parts p and q, (B, E) each, with norm(h + s ⊙ v) = p + q ⊙ v.

        Args:
            total: (B, E) s.
            pairs: (B, E) h.
            items: (M, E) v. They are read in training only; otherwise the running statistics are used.
        """
        mean, variance = self.running_mean, self.running_var
        if self.training:
            mean, variance = self._statistics(total, pairs, items)
        slope = self.weight * (variance + EPS).rsqrt()
        return (pairs - mean) * slope + self.bias, total * slope

    def _statistics(self, total: Tensor, pairs: Tensor, items: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and biased variance over all pairs, (E) each; updates the running ones, with the unbiased variance."""
        at_mean = pairs + total * items.mean(0)
        mean, variance = at_mean.mean(0), at_mean.var(0, correction=0)
        variance = variance + total.square().mean(0) * items.var(0, correction=0)
        count = len(total) * len(items)
        with torch.no_grad():
            self.running_mean.lerp_(mean.to(self.running_mean.dtype), MOMENTUM)
            unbiased = variance * (count / max(count - 1, 1))
            self.running_var.lerp_(unbiased.to(self.running_var.dtype), MOMENTUM)
        return mean, variance
