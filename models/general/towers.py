"""The layers through which a general recommender passes the vectors of users or items.

T rows, E width of their vectors.
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import Literal

import torch.nn.functional as F
from torch import Tensor, nn

Activation = Literal["tanh", "gelu", "relu"]
Norm = Literal["none", "batch"]
_ACTIVATIONS: dict[str, type[nn.Module]] = {"tanh": nn.Tanh, "gelu": nn.GELU, "relu": nn.ReLU}


class Tower(nn.Module):
    """A stack of layers h ← act(norm(W · dropout(h) + b)).  (T, E) -> (T, last width).

    Weights are initially Xavier normal, biases zero. GELU is the exact one. In training, batch normalisation
    (arXiv 1502.03167, eps 1e-5) uses the statistics of the T rows, or the running statistics if T is 1.

    Args:
        widths: E, and the output width of each layer; E alone for no layers, which is the identity.
        activation: `tanh`, `gelu` or `relu`.
        norm: `batch` or `none`.
        dropout: dropout probability of the input of each layer.
        initial_std: standard deviation of the initial weights; None for Xavier normal.
    """

    def __init__(
        self,
        widths: Sequence[int],
        *,
        activation: Activation,
        norm: Norm = "none",
        dropout: float = 0.0,
        initial_std: float | None = None,
    ) -> None:
        super().__init__()
        self.width = widths[-1]
        self.layers = nn.ModuleList(linear(*sizes, initial_std) for sizes in pairwise(widths))
        self.norms = nn.ModuleList(
            _BatchNorm(width) if norm == "batch" else nn.Identity() for width in widths[1:]
        )
        self.activation = _ACTIVATIONS[activation]()
        self.dropout = nn.Dropout(dropout)

    def forward(self, rows: Tensor) -> Tensor:
        """(T, E) -> (T, last width)."""
        for layer, norm in zip(self.layers, self.norms, strict=True):
            rows = self.activation(norm(layer(self.dropout(rows))))
        return rows


class _BatchNorm(nn.BatchNorm1d):
    """Batch normalisation that does not fail on a batch of one row, as the last batch of an epoch may be."""

    def forward(self, rows: Tensor) -> Tensor:
        if self.training and len(rows) > 1:
            return super().forward(rows)
        statistics = (self.running_mean, self.running_var)
        return F.batch_norm(rows, *statistics, self.weight, self.bias, eps=self.eps)


def linear(inputs: int, outputs: int, initial_std: float | None, *, bias: bool = True) -> nn.Linear:
    """A linear layer with bias zero.

    Args:
        inputs: width of its inputs.
        outputs: width of its outputs.
        initial_std: standard deviation of the initial weights; None for Xavier normal.
        bias: whether it has a bias.
    """
    layer = nn.Linear(inputs, outputs, bias=bias)
    if initial_std is None:
        nn.init.xavier_normal_(layer.weight)
    else:
        nn.init.normal_(layer.weight, std=initial_std)
    if bias:
        nn.init.zeros_(layer.bias)
    return layer
