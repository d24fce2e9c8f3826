"""The sum of the parts, with or without a linear map each (MMSR, NineRec)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from models.fusion.kind import FusionKind, differing
from models.fusion.optional_parts import (
    MLP,
    InitialWeights,
    MLPActivation,
    VectorSettings,
    initialise,
    shared_norm,
)


@dataclass
class SumSettings(VectorSettings):
    """The fusion.

    Args:
        kind: name of the fusion.
        norm: whether each part is normalised first by one LayerNorm that all share, as in MMSR; NineRec has none.
        mlp: number of layers of an MLP after the fusion; MMSR has none or 3.
        mlp_dropout: dropout probability of the input of each of these layers.
        mlp_activation: activation of each of these layers.
        initial_weights: `xavier` (normal, biases zero; MMSR), or `uniform`, as torch's Linear has them (NineRec).
        maps: whether each part has a linear map before the sum, as in MMSR and NineRec.
    """

    kind: str = "sum"
    maps: bool = False


class Sum(nn.Module):
    """e = MLP(Σ_p (W_p · N(v_p) + b_p)).  `{part: (U, E)}` -> (U, E).

    N, the linear maps and the MLP are optional. Without them it is e = Σ_p v_p, and has no parameters.

    Args:
        parts: P names.
        embedding_dim: E, the width of every part.
        maps: whether each part has a linear map.
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
        maps: bool = False,
        norm: bool = False,
        mlp: int = 0,
        mlp_dropout: float = 0.1,
        mlp_activation: MLPActivation = "relu",
        initial_weights: InitialWeights = "xavier",
    ) -> None:
        super().__init__()
        self.parts = tuple(parts)
        self.embedding_dim = embedding_dim
        self.chosen = {
            "maps": maps,
            "norm": norm,
            "mlp": mlp,
            "mlp_dropout": mlp_dropout,
            "mlp_activation": mlp_activation,
            "initial_weights": initial_weights,
        }
        self.norm = shared_norm(embedding_dim, norm=norm)
        self.maps = nn.ModuleList(
            nn.Linear(embedding_dim, embedding_dim) if maps else nn.Identity() for _ in self.parts
        )
        self.mlp = MLP(embedding_dim, layers=mlp, dropout=mlp_dropout, activation=mlp_activation)
        initialise(self, initial_weights)

    def settings(self) -> dict[str, Any]:
        """Its settings without `kind`: those that differ from the defaults."""
        return differing(SumSettings, self.chosen)

    def forward(self, parts: Mapping[str, Tensor]) -> Tensor:
        """`{part: (U, E)}` -> (U, E)."""
        named = zip(self.parts, self.maps, strict=True)
        mapped = torch.stack([linear(self.norm(parts[name])) for name, linear in named])
        joined: Tensor = self.mlp(mapped.sum(dim=0))
        return joined


SUM = FusionKind(settings=SumSettings, fusion=Sum)
