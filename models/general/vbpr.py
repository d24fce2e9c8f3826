"""VBPR (arXiv 1510.01784): matrix factorisation with a half of each vector learned and a half read from content.

B users, S training users, M items, N items of a dataset, D width of all towers' states together, E width of a vector.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.general.kind import GeneralKind
from models.general.towers import linear
from models.inputs.interactions import Interactions
from models.inputs.tables import Tables
from models.inputs.users import Users
from models.items.id_embedding import vectors_of


@dataclass
class VBPRSettings:
    """VBPR.

    Args:
        kind: name of the general recommender.
        content_bias: whether a weight per feature adds to the score of an item, for all users.
    """

    kind: str = "vbpr"
    content_bias: bool = False


class VBPR(nn.Module):
    """s(u, i) = [p_u; q_u] · [e_i; P f_i], or with `content_bias` s(u, i) + w · f_i.

    p_u, q_u and e_i are learned, of width E/2 each, and P is a projection without bias of the stored states f_i, which
    stay as they are; of several towers f_i is the concatenation. With the bias, users have [p_u; q_u; 1], and items
    [e_i; P f_i; w · f_i]. MicroLens adds a bias in ranking only, with weights that its loss never trains; ours is
    trained, as in NineRec, or absent.

    Args:
        users: S, number of training users.
        items: N.
        embedding_dim: E, even.
        content_bias: whether there is w.
        feature_dim: D; 0 for a model that has not observed features.
        initial_std: standard deviation of the initial vectors and weights; by default 1/sqrt(E/2) for the vectors and
            Xavier normal for P.

    Raises:
        ValueError: if E is odd.
    """

    features: Tensor

    def __init__(
        self,
        *,
        users: int,
        items: int,
        embedding_dim: int,
        content_bias: bool = False,
        feature_dim: int = 0,
        initial_std: float | None = None,
    ) -> None:
        super().__init__()
        if embedding_dim % 2:
            raise ValueError(
                f"the width of the vectors is {embedding_dim}; it must be even, half learned and half from content"
            )
        self._settings: dict[str, Any] = {
            "users": users,
            "items": items,
            "embedding_dim": embedding_dim,
            "content_bias": content_bias,
        }
        self.initial_std = initial_std
        half = embedding_dim // 2
        self.users = vectors_of(users, embedding_dim, initial_std or half**-0.5)
        self.items = vectors_of(items, half, initial_std)
        if feature_dim:
            self._read(torch.zeros(items + 1, feature_dim))

    def _read(self, features: Tensor) -> None:
        """Takes (N + 1, D) features, with new weights for them."""
        width = self._settings["feature_dim"] = features.shape[1]
        self.register_buffer("features", features)
        self.projection = linear(width, self.items.embedding_dim, self.initial_std, bias=False)
        self.bias = nn.Parameter(torch.zeros(width)) if self._settings["content_bias"] else None

    def observe(self, interactions: Interactions, features: Mapping[str, Tensor]) -> None:
        """Takes the features of all items, `{tower: (N + 1, D)}`.

        Raises:
            ValueError: if there are none.
        """
        if not features:
            raise ValueError("VBPR reads the stored states of items, and there is no tower")
        self._read(torch.cat([states.float() for states in features.values()], dim=1))

    def settings(self) -> dict[str, Any]:
        """Arguments that rebuild the module (`VBPR(**settings)`), as a JSON object."""
        return dict(self._settings)

    def tables(self, vectors: Tensor | None) -> Tables:
        """Items (N + 1, E) and users (S + 1, E), or (…, E + 1) with the bias."""
        return self.tables_of(torch.arange(len(self.features), device=self.features.device))

    def tables_of(self, items: Tensor) -> Tables:
        """The same with the rows of (U,) items only, (U, E)."""
        features = self.features.index_select(0, items)
        parts = [self.items(items), self.projection(features)]
        users = self.users.weight
        if self.bias is not None:
            parts.append((features @ self.bias)[:, None])
            users = F.pad(users, (0, 1), value=1.0)
        return Tables(torch.cat(parts, dim=1), users)

    def user_vectors(self, users: Users, tables: Tables) -> Tensor:
        """(B, E), or (B, E + 1) with the bias, from the rows of the users."""
        assert users.rows is not None
        vectors = self.users(users.rows)
        return vectors if self.bias is None else F.pad(vectors, (0, 1), value=1.0)


def _about(settings: VBPRSettings) -> str:
    return "VBPR: matrix factorisation with learned vectors and the stored states of items"


VBPR_KIND = GeneralKind(
    settings=VBPRSettings,
    module=VBPR,
    noun="a VBPR model",
    about=_about,
    reads="features",
    needs_user=True,
)
