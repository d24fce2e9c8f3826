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
    """

    kind: str = "fm"


class FM(nn.Module):
    """s(u, i) = Σ_d h_d + s · v_i: the sum over dimensions of the bi-interaction (`models.general.histories`).

    The fields are the items of the history and the candidate, as in NineRec, without first-order weights. The score is
    a dot product: users have [s; Σ_d h_d], and items [v; 1]. The module has no parameters.

    Args:
        embedding_dim: E.
    """

    def __init__(self, *, embedding_dim: int) -> None:
        super().__init__()
        self.embedding_dim = embedding_dim

    def settings(self) -> dict[str, Any]:
        """Arguments that rebuild the module (`FM(**settings)`), as a JSON object."""
        return {"embedding_dim": self.embedding_dim}

    def tables(self, vectors: Tensor | None) -> Tables:
        """(M + 1, E) -> (M + 1, E + 1)."""
        assert vectors is not None
        return Tables(F.pad(vectors, (0, 1), value=1.0))

    def user_vectors(self, users: Users, tables: Tables) -> Tensor:
        """(B, E + 1) from the histories."""
        total, pairs = fields_of_history(users.inputs, tables.items[:, :-1])
        return torch.cat([total, pairs.sum(1, keepdim=True)], dim=1)


def _about(settings: FMSettings) -> str:
    return "a factorisation machine over the items of a history"


FM_KIND = GeneralKind(
    settings=FMSettings, module=FM, noun="an FM model", about=_about, reads="vectors"
)
