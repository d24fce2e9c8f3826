"""NFM: a neural factorisation machine (arXiv 1708.05027) over the items of a history and a candidate.

B users, L inputs, M items of a batch, C candidates, E width of the item encoder's vectors.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from models.general.histories import fields_of_history
from models.general.kind import GeneralKind
from models.general.pair_norm import PairNorm
from models.general.towers import Tower, linear
from models.inputs.tables import Tables
from models.inputs.users import Users


@dataclass
class NFMSettings:
    """NFM.

    Args:
        kind: name of the general recommender.
        layers: number of hidden layers over the bi-interaction.
        dropout: dropout probability of the input of each layer.
        final_relu: whether scores pass a ReLU, as in MicroLens, where many candidates then tie at 0.
    """

    kind: str = "nfm"
    layers: int = 1
    dropout: float = 0.0
    final_relu: bool = False


class NFM(nn.Module):
    """s(u, i) = w · MLP(BatchNorm(h + s ⊙ v_i)) + b, over the bi-interaction h + s ⊙ v_i (`models.general.histories`).

    The fields are the items of the history and the candidate, as in MicroLens, without first-order weights. The MLP has
    layers of h ← ReLU(W h + b). In training, batch normalisation uses the statistics of all pairs of a user and an item
    of the batch, whichever of them the loss compares. They have a closed form (`models.general.pair_norm`), so the
    normalisation is part of the users' vectors [p; q], with BatchNorm(h + s ⊙ v) = p + q ⊙ v.

    Args:
        embedding_dim: E, width of all layers.
        layers: number of hidden layers.
        dropout: dropout probability of the input of each layer.
        final_relu: whether scores pass a ReLU, the published form in MicroLens. Candidates with negative scores then tie.
        initial_std: standard deviation of the initial weights; by default Xavier normal.

    Raises:
        ValueError: if there is no hidden layer.
    """

    def __init__(
        self,
        *,
        embedding_dim: int,
        layers: int = 1,
        dropout: float = 0.0,
        final_relu: bool = False,
        initial_std: float | None = None,
    ) -> None:
        super().__init__()
        if layers < 1:
            raise ValueError(f"layers is {layers}; it must be at least 1")
        self.embedding_dim = embedding_dim
        self.final_relu = final_relu
        self.norm = PairNorm(embedding_dim)
        self.tower = Tower(
            (layers + 1) * [embedding_dim],
            activation="relu",
            dropout=dropout,
            initial_std=initial_std,
        )
        self.output = linear(embedding_dim, 1, initial_std)
        self.dropout = nn.Dropout(dropout)

    @property
    def values_per_score(self) -> int:
        """The number of values that one score takes in memory: the inputs of the MLP and the values of its layers."""
        return (2 * len(self.tower.layers) + 1) * self.embedding_dim

    def settings(self) -> dict[str, Any]:
        """Arguments that rebuild the module (`NFM(**settings)`), as a JSON object."""
        return {
            "embedding_dim": self.embedding_dim,
            "layers": len(self.tower.layers),
            "dropout": self.dropout.p,
            "final_relu": self.final_relu,
        }

    def tables(self, vectors: Tensor | None) -> Tables:
        """The vectors of items, (M + 1, E), as they are."""
        assert vectors is not None
        return Tables(vectors)

    def user_vectors(self, users: Users, tables: Tables) -> Tensor:
        """(B, 2E), [p; q], from the histories."""
        total, pairs = fields_of_history(users.inputs, tables.items)
        return torch.cat(self.norm(total, pairs, tables.items[1:]), dim=1)

    def scores(self, users: Tensor, items: Tensor) -> Tensor:
        """(..., B, 2E), (..., C, E) -> (..., B, C)."""
        constant, slope = users[..., :, None, :].chunk(2, dim=-1)
        hidden = self.tower(constant + slope * items[..., None, :, :])
        scores = self.output(self.dropout(hidden)).squeeze(-1)
        return scores.relu() if self.final_relu else scores


def _about(settings: NFMSettings) -> str:
    return f"a neural factorisation machine, {settings.layers} hidden layers, over the items of a history"


NFM_KIND = GeneralKind(
    settings=NFMSettings, module=NFM, noun="an NFM model", about=_about, reads="vectors"
)
