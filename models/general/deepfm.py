"""DeepFM (arXiv 1703.04247): a factorisation machine and a network over the same fields.

B users, L inputs, M items, C candidates, E width of the item encoder's vectors, H width of the network.
"""

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.general.histories import fields_of_history
from models.general.kind import GeneralKind
from models.general.towers import Tower, linear
from models.inputs.tables import Tables
from models.inputs.users import Users


@dataclass
class DeepFMSettings:
    """DeepFM.

    Args:
        kind: name of the general recommender.
        layers: number of layers of the network, the first over all fields.
        width: width of these layers; 0 selects the width of the item vectors.
        dropout: dropout probability of the input of each layer after the first.
        history_pairs: whether scores include the pairs of two items of the history (`models.general.fm`).
    """

    kind: str = "deepfm"
    layers: int = 1
    width: int = 0
    dropout: float = 0.0
    history_pairs: bool = False


class DeepFM(nn.Module):
    """s(u, i) = FM(u, i) + w · MLP(ReLU(W [x_1; …; x_L; v_i])) + b, with FM as in `models.general.fm`.

    The fields x_1, …, x_L are the vectors of the history, the newest last and zeros at padding, and v_i is that of the
    candidate, as in MicroLens, without first-order weights. The first layer W has no bias; further ones are
    h ← ReLU(W h + b). The parts of W [x; v] of the history and of the candidate are computed once for each user and
    each item: users have [s; a; c], and items [v; z], with FM = s · v + c and W [x; v] = a + z.

    Args:
        embedding_dim: E.
        max_len: L, maximum input length.
        layers: number of layers.
        width: H; 0 for E.
        dropout: dropout probability of the input of each layer after the first.
        history_pairs: whether FM includes the pairs of two items of the history; otherwise c is 0.
        initial_std: standard deviation of the initial weights; by default Xavier normal.

    Raises:
        ValueError: if there is no layer.
    """

    def __init__(
        self,
        *,
        embedding_dim: int,
        max_len: int,
        layers: int = 1,
        width: int = 0,
        dropout: float = 0.0,
        history_pairs: bool = False,
        initial_std: float | None = None,
    ) -> None:
        super().__init__()
        if layers < 1:
            raise ValueError(f"layers is {layers}; it must be at least 1")
        width = width or embedding_dim
        self._settings: dict[str, Any] = {
            "embedding_dim": embedding_dim,
            "max_len": max_len,
            "layers": layers,
            "width": width,
            "dropout": dropout,
            "history_pairs": history_pairs,
        }
        self.embedding_dim = embedding_dim
        self.max_len = max_len
        self.history_pairs = history_pairs
        self.first = linear((max_len + 1) * embedding_dim, width, initial_std, bias=False)
        self.tower = Tower(
            layers * [width], activation="relu", dropout=dropout, initial_std=initial_std
        )
        self.dropout = nn.Dropout(dropout)
        self.output = linear(width, 1, initial_std)

    @property
    def values_per_score(self) -> int:
        """The number of values that one score takes in memory: the values of the network's layers."""
        return 2 * (len(self.tower.layers) + 1) * self.output.in_features

    def settings(self) -> dict[str, Any]:
        """Arguments that rebuild the module (`DeepFM(**settings)`), as a JSON object."""
        return self._settings

    def tables(self, vectors: Tensor | None) -> Tables:
        """(M + 1, E) -> (M + 1, E + H)."""
        assert vectors is not None
        of_candidate = self.first.weight[:, -self.embedding_dim :]
        return Tables(torch.cat([vectors, F.linear(vectors, of_candidate)], dim=1))

    def user_vectors(self, users: Users, tables: Tables) -> Tensor:
        """(B, E + H + 1) from the histories.

        Raises:
            ValueError: if they have more than L inputs.
        """
        inputs, vectors = users.inputs, tables.items[:, : self.embedding_dim]
        if inputs.shape[1] > self.max_len:
            raise ValueError(
                f"histories have {inputs.shape[1]} inputs, but DeepFM has weights for {self.max_len}"
            )
        total, pairs = fields_of_history(inputs, vectors)
        fields = F.embedding(inputs, vectors).masked_fill((inputs == 0)[..., None], 0.0).flatten(1)
        newest = self.first.weight[:, : -self.embedding_dim][:, -fields.shape[1] :]
        constant = (
            pairs.sum(1, keepdim=True) if self.history_pairs else torch.zeros_like(total[:, :1])
        )
        return torch.cat([total, F.linear(fields, newest), constant], dim=1)

    def scores(self, users: Tensor, items: Tensor) -> Tensor:
        """(..., B, E + H + 1), (..., C, E + H) -> (..., B, C)."""
        sizes = [self.embedding_dim, self.output.in_features]
        total, hidden, constant = users.split([*sizes, 1], dim=-1)
        vectors, of_items = items.split(sizes, dim=-1)
        hidden = self.tower((hidden[..., :, None, :] + of_items[..., None, :, :]).relu())
        deep = self.output(self.dropout(hidden)).squeeze(-1)
        return total @ vectors.mT + constant + deep


def _about(settings: DeepFMSettings) -> str:
    return f"DeepFM, {settings.layers} layers, over the items of a history"


DEEPFM = GeneralKind(
    settings=DeepFMSettings,
    module=DeepFM,
    noun="a DeepFM model",
    about=_about,
    reads="vectors",
)
