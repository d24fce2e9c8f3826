"""A fusion outside of the package, in one file: a weighted mean of the parts, with an optional Linear after it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

import models


@dataclass
class WeightedSettings:
    """A weighted mean.

    Args:
        kind: name of the fusion.
        temperature: of the softmax over the weights.
    """

    kind: str = "weighted"
    temperature: float = 1.0


class Weighted(nn.Module):
    """e = Σ_p softmax(w / τ)_p · v_p.

    Args:
        parts: P names.
        embedding_dim: E.
        temperature: τ.
    """

    def __init__(self, parts: Sequence[str], *, embedding_dim: int, temperature: float) -> None:
        super().__init__()
        self.parts = tuple(parts)
        self.temperature = temperature
        self.weights = nn.Parameter(torch.zeros(len(self.parts)))

    def settings(self) -> dict[str, Any]:
        """What builds it again."""
        return {"temperature": self.temperature}

    def forward(self, parts: Mapping[str, Tensor]) -> Tensor:
        """`{part: (U, E)}` -> (U, E)."""
        weights = torch.softmax(self.weights / self.temperature, dim=0)
        return sum(weights[p] * parts[name] for p, name in enumerate(self.parts))  # type: ignore[return-value]


models.FUSIONS["weighted"] = models.FusionKind(settings=WeightedSettings, fusion=Weighted)
