"""General recommenders. `GENERAL` maps their names to their declarations; `RECOMMENDERS` also has the sequential one."""

from collections import ChainMap
from collections.abc import MutableMapping
from typing import Any

from models.general.cease import CEASE
from models.general.deepfm import DEEPFM
from models.general.dssm import DSSM_KIND
from models.general.ease import EASE
from models.general.fm import FM_KIND
from models.general.grcn import GRCN_KIND
from models.general.item_knn import ITEM_KNN
from models.general.kind import GeneralKind, GeneralModel
from models.general.lightgcn import LIGHTGCN
from models.general.mmgcn import MMGCN_KIND
from models.general.nfm import NFM_KIND
from models.general.popularity import POPULARITY
from models.general.recommender import GeneralRecommender
from models.general.sequential import SEQUENTIAL
from models.general.vbpr import VBPR_KIND
from models.general.youtubednn import YOUTUBEDNN
from models.inputs.tables import Tables

GENERAL: dict[str, GeneralKind] = {
    "popularity": POPULARITY,
    "item-knn": ITEM_KNN,
    "ease": EASE,
    "cease": CEASE,
    "dssm": DSSM_KIND,
    "youtubednn": YOUTUBEDNN,
    "vbpr": VBPR_KIND,
    "fm": FM_KIND,
    "nfm": NFM_KIND,
    "deepfm": DEEPFM,
    "lightgcn": LIGHTGCN,
    "mmgcn": MMGCN_KIND,
    "grcn": GRCN_KIND,
}
RECOMMENDERS: MutableMapping[str, Any] = ChainMap(GENERAL, {"sequential": SEQUENTIAL})

__all__ = ["GENERAL", "RECOMMENDERS", "GeneralKind", "GeneralModel", "GeneralRecommender", "Tables"]
