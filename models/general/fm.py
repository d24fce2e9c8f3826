"""FM: a factorisation machine (Rendle, ICDM 2010) over the items of a history and a candidate.

B users, L inputs, M items, E width of the item encoder's vectors.
"""

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.general.histories import fields_of_history
from models.general.kind import GeneralKind
from models.inputs.tables import Tables
from models.inputs.users import Users


@dataclass
class FMSettings:
    """FM.

    Args:
        kind: name of the general recommender.
        history_pairs: whether scores include the pairs of two items of the history, as published. They change no ranking,
            and neither the softmax nor BPR. With BCE they hinder learning.
    """

    kind: str = "fm"
    history_pairs: bool = False


class FM(nn.Module):
    """s(u, i) = s · v_i, or with `history_pairs` Σ_d h_d + s · v_i (`models.general.histories`).

    The latter is the sum over dimensions of the bi-interaction of the items of the history and the candidate, as in
    NineRec, without first-order weights. Σ_d h_d is the same for all candidates, so the ranking does not depend on it;
    NineRec too ranks without it. With it, users have [s; Σ_d h_d], and items [v; 1]. The module has no parameters.

    Args:
        embedding_dim: E.
        history_pairs: whether scores include Σ_d h_d.
    """

    def __init__(self, *, embedding_dim: int, history_pairs: bool = False) -> None:
        super().__init__()
        self.embedding_dim = embedding_dim
        self.history_pairs = history_pairs

    def settings(self) -> dict[str, Any]:
        """Arguments that rebuild the module (`FM(**settings)`), as a JSON object."""
        return {"embedding_dim": self.embedding_dim, "history_pairs": self.history_pairs}

    def tables(self, vectors: Tensor | None) -> Tables:
        """The vectors of items, (M + 1, E), or with `history_pairs` (M + 1, E + 1)."""
        assert vectors is not None
        return Tables(F.pad(vectors, (0, 1), value=1.0) if self.history_pairs else vectors)

    def user_vectors(self, users: Users, tables: Tables) -> Tensor:
        """(B, E) from the histories, or with `history_pairs` (B, E + 1)."""
        total, pairs = fields_of_history(users.inputs, tables.items[:, : self.embedding_dim])
        if not self.history_pairs:
            return total
        return torch.cat([total, pairs.sum(1, keepdim=True)], dim=1)


def _about(settings: FMSettings) -> str:
    return "a factorisation machine over the items of a history"


FM_KIND = GeneralKind(
    settings=FMSettings, module=FM, noun="an FM model", about=_about, reads="vectors"
)
