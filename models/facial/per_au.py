"""A linear layer with weights of its own for each action unit (AU).

B faces, A AUs, I inputs, O outputs.
"""

import torch
from torch import Tensor, nn


class PerAULinear(nn.Module):
    """y_a = W_a x_a + b_a for every AU a, in one product.

    Weights begin as those of `nn.Linear`: uniform in ±1/√I.

    Args:
        aus: A.
        inputs: I.
        outputs: O.
    """

    decays = True

    def __init__(self, aus: int, inputs: int, outputs: int) -> None:
        super().__init__()
        bound = inputs**-0.5
        self.weight = nn.Parameter(torch.empty(aus, outputs, inputs).uniform_(-bound, bound))
        # Flat, because weight decay applies to what has several dimensions (`models.parameters.decayed`).
        self.bias = nn.Parameter(torch.empty(aus * outputs).uniform_(-bound, bound))

    def forward(self, x: Tensor) -> Tensor:
        """(B, A, I) -> (B, A, O)."""
        return torch.einsum("bai,aoi->bao", x, self.weight) + self.bias.view(self.weight.shape[:2])
