"""The fusion without parameters: the sum of the parts."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from models.fusion.kind import FusionKind


@dataclass
class SumSettings:
    """The fusion.

    Args:
        kind: name of the fusion.
    """

    kind: str = "sum"


class Sum(nn.Module):
    """e = Σ_p v_p.  `{part: (U, E)}` -> (U, E).

    Args:
        parts: P names.
        embedding_dim: E, the width of every part.
    """

    def __init__(self, parts: Sequence[str], *, embedding_dim: int) -> None:
        super().__init__()
        self.parts = tuple(parts)
        self.embedding_dim = embedding_dim

    def settings(self) -> dict[str, Any]:
        """Its settings without `kind`: none."""
        return {}

    def forward(self, parts: Mapping[str, Tensor]) -> Tensor:
        """`{part: (U, E)}` -> (U, E)."""
        return torch.stack([parts[name] for name in self.parts]).sum(dim=0)


SUM = FusionKind(settings=SumSettings, fusion=Sum)
