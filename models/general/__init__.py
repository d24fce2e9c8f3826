"""General recommenders. `GENERAL` maps their names to their declarations; `RECOMMENDERS` also has the sequential one."""

from collections import ChainMap
from collections.abc import MutableMapping
from typing import Any

from models.general.ease import EASE
from models.general.item_knn import ITEM_KNN
from models.general.kind import GeneralKind, GeneralModel
from models.general.popularity import POPULARITY
from models.general.recommender import GeneralRecommender
from models.general.sequential import SEQUENTIAL
from models.inputs.tables import Tables

GENERAL: dict[str, GeneralKind] = {
    "popularity": POPULARITY,
    "item-knn": ITEM_KNN,
    "ease": EASE,
}
RECOMMENDERS: MutableMapping[str, Any] = ChainMap(GENERAL, {"sequential": SEQUENTIAL})

__all__ = ["GENERAL", "RECOMMENDERS", "GeneralKind", "GeneralModel", "GeneralRecommender", "Tables"]
