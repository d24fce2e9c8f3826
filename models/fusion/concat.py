"""The fusion of IISAN and IISAN-Versa: one Linear over the concatenated parts."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.fusion.kind import FusionKind


@dataclass
class ConcatSettings:
    """The fusion.

    Args:
        kind: name of the fusion.
    """

    kind: str = "concat"


class Concat(nn.Linear):
    """e = W · [v_1; …; v_P] + b (IISAN, arXiv 2404.02059).  `{part: (U, E)}` -> (U, E).

    It is a subclass of Linear, so that its parameters are `fusion.weight` and `fusion.bias`.

    Args:
        parts: P names, in the order of the columns.
        embedding_dim: E.
    """

    def __init__(self, parts: Sequence[str], *, embedding_dim: int) -> None:
        super().__init__(len(parts) * embedding_dim, embedding_dim)
        self.parts = tuple(parts)

    def settings(self) -> dict[str, Any]:
        """Its settings without `kind`: none."""
        return {}

    def forward(self, parts: Mapping[str, Tensor]) -> Tensor:  # type: ignore[override]
        """`{part: (U, E)}` -> (U, E)."""
        joined = torch.cat([parts[name] for name in self.parts], dim=1)
        return F.linear(joined, self.weight, self.bias)


CONCAT = FusionKind(settings=ConcatSettings, fusion=Concat)
