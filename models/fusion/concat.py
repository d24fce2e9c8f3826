"""The fusion of IISAN and IISAN-Versa, one Linear over the concatenated parts; and IDvs.MoRec's, with a GELU."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.fusion.kind import FusionKind
from toolkit.errors import UserError

Activation = Literal["none", "gelu"]


@dataclass
class ConcatSettings:
    """The fusion.

    Args:
        kind: name of the fusion.
        activation: of the result: `none` (IISAN), or `gelu` (IDvs.MoRec's ID + modality).
        dropout: of the concatenated parts, while training.
    """

    kind: str = "concat"
    activation: Activation = "none"
    dropout: float = 0.0

    def __post_init__(self) -> None:
        if not 0 <= self.dropout < 1:
            raise UserError(f"fusion.dropout is {self.dropout}; it must be in [0, 1)")


class Concat(nn.Linear):
    """e = act(W · dropout([v_1; …; v_P]) + b).  `{part: (U, E)}` -> (U, E).

    Without activation and dropout it is the fusion of IISAN (arXiv 2404.02059); with GELU that of IDvs.MoRec's ID +
    modality (arXiv 2303.13835). It is a subclass of Linear, so that its parameters are `fusion.weight` and
    `fusion.bias`.

    Args:
        parts: P names, in the order of the columns.
        embedding_dim: E.
        activation: `none` or `gelu`, the exact one.
        dropout: of the concatenated parts, while training.
    """

    def __init__(
        self,
        parts: Sequence[str],
        *,
        embedding_dim: int,
        activation: Activation = "none",
        dropout: float = 0.0,
    ) -> None:
        super().__init__(len(parts) * embedding_dim, embedding_dim)
        self.parts = tuple(parts)
        self.activation = activation
        self.dropout = dropout

    def settings(self) -> dict[str, Any]:
        """Its settings without `kind`: those that differ from IISAN's fusion."""
        chosen = {"activation": self.activation, "dropout": self.dropout}
        published = {"activation": "none", "dropout": 0.0}
        return {key: value for key, value in chosen.items() if value != published[key]}

    def forward(self, parts: Mapping[str, Tensor]) -> Tensor:  # type: ignore[override]
        """`{part: (U, E)}` -> (U, E)."""
        joined = torch.cat([parts[name] for name in self.parts], dim=1)
        if self.dropout:
            joined = F.dropout(joined, self.dropout, self.training)
        joined = F.linear(joined, self.weight, self.bias)
        return F.gelu(joined) if self.activation == "gelu" else joined


CONCAT = FusionKind(settings=ConcatSettings, fusion=Concat)
