"""General recommenders. `GENERAL` maps their names to their declarations."""

from models.general.deepfm import DEEPFM
from models.general.dssm import DSSM_KIND
from models.general.fm import FM_KIND
from models.general.kind import GeneralKind, GeneralModel
from models.general.nfm import NFM_KIND
from models.general.recommender import GeneralRecommender
from models.general.vbpr import VBPR_KIND
from models.general.youtubednn import YOUTUBEDNN
from models.inputs.tables import Tables

GENERAL: dict[str, GeneralKind] = {
    "dssm": DSSM_KIND,
    "youtubednn": YOUTUBEDNN,
    "vbpr": VBPR_KIND,
    "fm": FM_KIND,
    "nfm": NFM_KIND,
    "deepfm": DEEPFM,
}

__all__ = ["GENERAL", "GeneralKind", "GeneralModel", "GeneralRecommender", "Tables"]
