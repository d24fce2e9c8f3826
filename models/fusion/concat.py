"""One Linear over the concatenated parts: the fusion of IISAN and IISAN-Versa, of IDvs.MoRec, MMSR and NineRec."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.fusion.kind import FusionKind, differing
from models.fusion.optional_parts import (
    MLP,
    InitialWeights,
    MLPActivation,
    VectorSettings,
    initialise,
    refuse_no_probability,
    shared_norm,
)

Activation = Literal["none", "gelu"]


@dataclass
class ConcatSettings(VectorSettings):
    """The fusion.

    Args:
        kind: name of the fusion.
        norm: whether each part is normalised first by one LayerNorm that all share, as in MMSR; the others have none.
        mlp: number of layers of an MLP after the fusion; MMSR has none or 3, MicroLens 1 without an activation.
        mlp_dropout: dropout probability of the input of each of these layers.
        mlp_activation: activation of each of these layers.
        initial_weights: `uniform`, as torch's Linear has them (IISAN, NineRec), or `xavier` (normal, biases zero; MMSR).
        activation: of the result before the MLP: `none` (IISAN), or `gelu` (IDvs.MoRec's ID + modality).
        dropout: of the concatenated parts, while training.
    """

    kind: str = "concat"
    initial_weights: InitialWeights = "uniform"
    activation: Activation = "none"
    dropout: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        refuse_no_probability("dropout", self.dropout)


class Concat(nn.Linear):
    """e = MLP(act(W · dropout([N(v_1); …; N(v_P)]) + b)).  `{part: (U, E)}` -> (U, E).

    With the defaults it is the fusion of IISAN (arXiv 2404.02059); with GELU that of IDvs.MoRec's ID + modality (arXiv
    2303.13835); with N, MMSR's. It is a subclass of Linear, so that its own parameters are `fusion.weight` and
    `fusion.bias`.

    Args:
        parts: P names, in the order of the columns.
        embedding_dim: E.
        activation: `none` or `gelu`, the exact one.
        dropout: of the concatenated parts, while training.
        norm: whether N is a LayerNorm that all parts share.
        mlp: number of layers of the MLP.
        mlp_dropout: dropout probability of the input of each of them.
        mlp_activation: activation of each of them.
        initial_weights: see `models.fusion.optional_parts.initialise`.
    """

    def __init__(
        self,
        parts: Sequence[str],
        *,
        embedding_dim: int,
        activation: Activation = "none",
        dropout: float = 0.0,
        norm: bool = False,
        mlp: int = 0,
        mlp_dropout: float = 0.1,
        mlp_activation: MLPActivation = "relu",
        initial_weights: InitialWeights = "uniform",
    ) -> None:
        super().__init__(len(parts) * embedding_dim, embedding_dim)
        self.parts = tuple(parts)
        self.activation = activation
        self.dropout = dropout
        self.chosen = {
            "activation": activation,
            "dropout": dropout,
            "norm": norm,
            "mlp": mlp,
            "mlp_dropout": mlp_dropout,
            "mlp_activation": mlp_activation,
            "initial_weights": initial_weights,
        }
        self.norm = shared_norm(embedding_dim, norm=norm)
        self.mlp = MLP(embedding_dim, layers=mlp, dropout=mlp_dropout, activation=mlp_activation)
        initialise(self, initial_weights)

    def settings(self) -> dict[str, Any]:
        """Its settings without `kind`: those that differ from IISAN's fusion."""
        return differing(ConcatSettings, self.chosen)

    def forward(self, parts: Mapping[str, Tensor]) -> Tensor:  # type: ignore[override]
        """`{part: (U, E)}` -> (U, E)."""
        joined = torch.cat([self.norm(parts[name]) for name in self.parts], dim=1)
        if self.dropout:
            joined = F.dropout(joined, self.dropout, self.training)
        joined = F.linear(joined, self.weight, self.bias)
        joined = self.mlp(F.gelu(joined) if self.activation == "gelu" else joined)
        return joined


CONCAT = FusionKind(settings=ConcatSettings, fusion=Concat)
