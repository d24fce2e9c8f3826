"""What may stand around a fusion of vectors: a LayerNorm that all parts share before it, and an MLP after it (MMSR).

e = MLP(f(N(v_1), …, N(v_P))), where f is the fusion. Without them, e = f(v_1, …, v_P).

U items, P parts, E embedding.
"""

from dataclasses import dataclass
from typing import Literal

from torch import nn

from toolkit.errors import UserError

InitialWeights = Literal["xavier", "uniform"]
MLPActivation = Literal["relu", "none"]
_ACTIVATIONS: dict[MLPActivation, type[nn.Module]] = {"relu": nn.ReLU, "none": nn.Identity}
LAYER_NORM_EPS = 1e-6  # MMSR's


@dataclass
class VectorSettings:
    """Settings of every fusion of vectors that has these parts.

    Args:
        kind: name of the fusion.
        norm: whether each part is normalised first, by one LayerNorm that all parts share.
        mlp: number of layers of the MLP after the fusion; 0 for none.
        mlp_dropout: dropout probability of the input of each of these layers.
        mlp_activation: activation of each of these layers.
        initial_weights: `xavier` or `uniform`.
    """

    kind: str = ""
    norm: bool = False
    mlp: int = 0
    mlp_dropout: float = 0.1
    mlp_activation: MLPActivation = "relu"
    initial_weights: InitialWeights = "xavier"

    def __post_init__(self) -> None:
        if self.mlp < 0:
            raise UserError(f"fusion.mlp is {self.mlp}; it must be at least 0")
        refuse_no_probability("mlp_dropout", self.mlp_dropout)


def refuse_no_probability(key: str, value: float) -> None:
    """Refuses a dropout probability outside of [0, 1).

    Raises:
        UserError: naming the setting of the fusion.
    """
    if not 0 <= value < 1:
        raise UserError(f"fusion.{key} is {value}; it must be in [0, 1)")


def shared_norm(embedding_dim: int, *, norm: bool) -> nn.Module:
    """The LayerNorm that all parts share; nothing if `norm` is false.  (U, E) -> (U, E)."""
    return nn.LayerNorm(embedding_dim, eps=LAYER_NORM_EPS) if norm else nn.Identity()


class MLP(nn.Sequential):
    """N times h = act(W · dropout(h) + b).  (U, E) -> (U, E).

    With ReLU the last layer has it too, as in MMSR, so that embeddings are not negative.

    Args:
        embedding_dim: E.
        layers: N; 0 for none.
        dropout: dropout probability of the input of each layer.
        activation: activation of each layer, the last one too.
    """

    def __init__(
        self, embedding_dim: int, *, layers: int, dropout: float, activation: MLPActivation
    ) -> None:
        steps: list[nn.Module] = []
        for _ in range(layers):
            linear = nn.Linear(embedding_dim, embedding_dim)
            steps += [nn.Dropout(dropout), linear, _ACTIVATIONS[activation]()]
        super().__init__(*steps)


def initialise(fusion: nn.Module, weights: InitialWeights) -> None:
    """Sets the initial weights of a fusion's linear layers, in place.

    Args:
        fusion: the module.
        weights: `xavier` for Xavier normal matrices and biases of zero, as in MMSR; `uniform` leaves torch's own for
            `nn.Linear`, as in IISAN and NineRec.
    """
    if weights == "uniform":
        return
    for module in fusion.modules():
        if isinstance(module, nn.Linear):
            nn.init.xavier_normal_(module.weight)
            nn.init.zeros_(module.bias)
