"""The states of action units (AUs) that condition the decoders of texts, so that texts state what the classifiers state.

B faces, A AUs, D width. States are 0, 1 and 9 (not told), as labels.
"""

import torch
from torch import Tensor, nn

from toolkit.facs import ACTIVE, MISSING


class StateEmbedding(nn.Module):
    """s_a = E[a, state of AU a], a learned vector; 0 for a state that is not told.

    Args:
        aus: A.
        width: D.
    """

    def __init__(self, aus: int, *, width: int) -> None:
        super().__init__()
        self.vectors = nn.Parameter(torch.randn(aus, 2, width))

    def forward(self, states: Tensor) -> Tensor:
        """(B, A) of 0, 1 and 9 -> (B, A, D)."""
        aus = torch.arange(len(self.vectors), device=states.device)
        told = (states != MISSING)[..., None]
        return self.vectors[aus, (states == ACTIVE).long()] * told


def predicted_states(logits: Tensor, active_from: Tensor | float = 0.0) -> Tensor:
    """(B, A) logits and (A,) the least ones of active AUs -> (B, A) of 0 and 1, without gradient."""
    return (logits.detach() >= active_from).long()


def hidden_at_random(states: Tensor, *, told: float) -> Tensor:
    """(B, A) the states of a face with probability `told`, else 9 for all of its AUs."""
    is_told = torch.rand(len(states), 1, device=states.device) < told
    return states.masked_fill(~is_told, MISSING)
