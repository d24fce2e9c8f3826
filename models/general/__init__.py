"""General recommenders. `GENERAL` maps their names to their declarations."""

from models.general.grcn import GRCN, GRCN_KIND
from models.general.kind import GeneralKind, GeneralModel
from models.general.lightgcn import LIGHTGCN, LightGCN
from models.general.mmgcn import MMGCN, MMGCN_KIND
from models.general.recommender import GeneralRecommender
from models.inputs.tables import Tables

GENERAL: dict[str, GeneralKind] = {
    "grcn": GRCN_KIND,
    "lightgcn": LIGHTGCN,
    "mmgcn": MMGCN_KIND,
}

__all__ = [
    "GENERAL",
    "GRCN",
    "GeneralKind",
    "GeneralModel",
    "GeneralRecommender",
    "LightGCN",
    "MMGCN",
    "Tables",
]
