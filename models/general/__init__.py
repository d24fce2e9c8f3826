"""General recommenders. `GENERAL` maps their names to their declarations."""

from models.general.kind import GeneralKind, GeneralModel
from models.general.recommender import GeneralRecommender
from models.inputs.tables import Tables

GENERAL: dict[str, GeneralKind] = {}

__all__ = ["GENERAL", "GeneralKind", "GeneralModel", "GeneralRecommender", "Tables"]
