"""General recommenders. `GENERAL` maps their names to their declarations."""

from models.general.kind import GeneralKind, GeneralModel, Tables
from models.general.recommender import GeneralRecommender

GENERAL: dict[str, GeneralKind] = {}

__all__ = ["GENERAL", "GeneralKind", "GeneralModel", "GeneralRecommender", "Tables"]
