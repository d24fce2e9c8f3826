"""DSSM: a vector per user and the vectors of an item encoder, each side through layers of its own.

B users, S training users, M items, E width of the item encoder's vectors, H width of the compared vectors.
"""

from dataclasses import dataclass
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from models.general.kind import GeneralKind
from models.general.towers import Activation, Norm, Tower
from models.inputs.tables import Tables
from models.inputs.users import Users
from models.items.id_embedding import vectors_of


@dataclass
class DSSMSettings:
    """DSSM.

    Args:
        kind: name of the general recommender.
        layers: number of layers of each side; 0 is matrix factorisation.
        width: output width of each layer; 0 selects the width of the item vectors.
        activation: activation of each layer: `tanh` (MicroLens, NineRec), `gelu` (IDvs.MoRec) or `relu`.
        norm: `batch` for batch normalisation before the activation (MicroLens, NineRec); `none` for none (IDvs.MoRec).
        dropout: dropout probability of the input of each layer.
    """

    kind: str = "dssm"
    layers: int = 0
    width: int = 0
    activation: Activation = "tanh"
    norm: Norm = "batch"
    dropout: float = 0.0


class DSSM(nn.Module):
    """Two towers: s(u, i) = f(p_u) · g(v_i), with a learned vector p_u per user and v_i from the item encoder.

    f and g are stacks of `layers` layers (`models.general.towers.Tower`). Without layers this is matrix factorisation.
    The name is that of NineRec and IDvs.MoRec, after the Deep Structured Semantic Model (Huang et al., CIKM 2013), which
    has such towers over text. Items that were not trained on have scores if the item encoder knows them.

    Args:
        users: S, number of training users.
        embedding_dim: E.
        layers: number of layers of each side.
        width: H, output width of each layer; 0 for E.
        activation: activation of each layer.
        norm: `batch` or `none`.
        dropout: dropout probability of the input of each layer.
        initial_std: standard deviation of the initial vectors and weights; by default 1/sqrt(E) for the vectors of users
            and Xavier normal for the layers.

    Raises:
        ValueError: if the number of layers is negative.
    """

    def __init__(
        self,
        *,
        users: int,
        embedding_dim: int,
        layers: int = 0,
        width: int = 0,
        activation: Activation = "tanh",
        norm: Norm = "batch",
        dropout: float = 0.0,
        initial_std: float | None = None,
    ) -> None:
        super().__init__()
        if layers < 0:
            raise ValueError(f"layers is {layers}; it must be at least 0")
        self._settings: dict[str, Any] = {
            "users": users,
            "embedding_dim": embedding_dim,
            "layers": layers,
            "width": width,
            "activation": activation,
            "norm": norm,
            "dropout": dropout,
        }
        self.users = vectors_of(users, embedding_dim, initial_std)
        widths = [embedding_dim] + layers * [width or embedding_dim]
        self.user_tower, self.item_tower = (
            Tower(
                widths, activation=activation, norm=norm, dropout=dropout, initial_std=initial_std
            )
            for _ in range(2)
        )

    def settings(self) -> dict[str, Any]:
        """Arguments that rebuild the module (`DSSM(**settings)`), as a JSON object."""
        return self._settings

    def tables(self, vectors: Tensor | None) -> Tables:
        """(M + 1, E) -> items (M + 1, H), of which row 0 stays zeros, and users (S + 1, E), before their layers."""
        assert vectors is not None
        return Tables(F.pad(self.item_tower(vectors[1:]), (0, 0, 1, 0)), self.users.weight)

    def user_vectors(self, users: Users, tables: Tables) -> Tensor:
        """(B, H) from the rows of the users. A user without a row has that of zeros."""
        assert users.rows is not None
        return self.user_tower(self.users(users.rows))


def _about(settings: DSSMSettings) -> str:
    if not settings.layers:
        return "matrix factorisation: a learned vector per user"
    return f"DSSM, {settings.layers} layers on each side, with a learned vector per user"


DSSM_KIND = GeneralKind(
    settings=DSSMSettings,
    module=DSSM,
    noun="a DSSM model",
    about=_about,
    reads="vectors",
    needs_user=True,
)
