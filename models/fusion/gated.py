"""The gated fusion of MMSR and NineRec: a gate of one part over the other."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

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
from models.fusion.pairs import condition_and_other


@dataclass
class GatedSettings(VectorSettings):
    """The fusion.

    Args:
        kind: name of the fusion.
        norm: whether both parts are normalised first by one LayerNorm that they share, as in MMSR; NineRec has none.
        mlp: number of layers of an MLP after the fusion; MMSR has none or 3.
        mlp_dropout: dropout probability of the input of each of these layers.
        mlp_activation: activation of each of these layers.
        initial_weights: `xavier` (normal, biases zero; MMSR), or `uniform`, as torch's Linear has them (NineRec).
        condition: name of the tower whose gate multiplies the other; by default the first of `towers`.
    """

    kind: str = "gated"
    condition: str = ""


class Gated(nn.Module):
    """e = MLP(W_o · (σ(W_x · N(x) + b_x) ⊙ (W_y · N(y) + b_y)) + b_o).  `{part: (U, E)}` -> (U, E).

    x is the part that conditions. N and the MLP are optional.

    Args:
        parts: names of the two parts.
        embedding_dim: E.
        condition: name of the part whose gate multiplies the other; by default the first.
        norm: whether N is a LayerNorm that both parts share.
        mlp: number of layers of the MLP.
        mlp_dropout: dropout probability of the input of each of them.
        mlp_activation: activation of each of them.
        initial_weights: see `models.fusion.optional_parts.initialise`.

    Raises:
        ValueError: if there are not two parts, or `condition` is none of them.
    """

    def __init__(
        self,
        parts: Sequence[str],
        *,
        embedding_dim: int,
        condition: str = "",
        norm: bool = False,
        mlp: int = 0,
        mlp_dropout: float = 0.1,
        mlp_activation: MLPActivation = "relu",
        initial_weights: InitialWeights = "xavier",
    ) -> None:
        super().__init__()
        self.parts = condition_and_other(parts, condition)
        self.chosen = {
            "condition": condition,
            "norm": norm,
            "mlp": mlp,
            "mlp_dropout": mlp_dropout,
            "mlp_activation": mlp_activation,
            "initial_weights": initial_weights,
        }
        self.norm = shared_norm(embedding_dim, norm=norm)
        self.gate = nn.Linear(embedding_dim, embedding_dim)
        self.value = nn.Linear(embedding_dim, embedding_dim)
        self.output = nn.Linear(embedding_dim, embedding_dim)
        self.mlp = MLP(embedding_dim, layers=mlp, dropout=mlp_dropout, activation=mlp_activation)
        initialise(self, initial_weights)

    def settings(self) -> dict[str, Any]:
        """Its settings without `kind`: those that differ from the defaults."""
        return differing(GatedSettings, self.chosen)

    def forward(self, parts: Mapping[str, Tensor]) -> Tensor:
        """`{part: (U, E)}` -> (U, E)."""
        condition, other = (self.norm(parts[name]) for name in self.parts)
        joined: Tensor = self.mlp(self.output(self.gate(condition).sigmoid() * self.value(other)))
        return joined


GATED = FusionKind(settings=GatedSettings, fusion=Gated, least=2)
