"""Trained recommenders out of Arrow datasets: IISAN-Versa's side network and what it is compared with."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from toolkit.console.starting import guard

if TYPE_CHECKING:
    from models.export import export_items
    from models.fusion import FUSIONS, FusionKind
    from models.general import GENERAL, GeneralKind, GeneralRecommender
    from models.inputs.users import Users
    from models.items import ITEMS, IdEmbedding, ItemKind, SideNetwork
    from models.public_iisan.weights import load_official_iisan
    from models.recommender import Recommender
    from models.runs.export_merged import export_encoder
    from models.runs.pretrained import from_pretrained, push_to_hub, save_pretrained
    from models.runs.run import load
    from models.runs.trained import TrainedRecommender
    from models.sequence import SEQUENCES, SASRec, SequenceKind

__all__ = [
    "FUSIONS",
    "GENERAL",
    "ITEMS",
    "SEQUENCES",
    "FusionKind",
    "GeneralKind",
    "GeneralRecommender",
    "IdEmbedding",
    "ItemKind",
    "Recommender",
    "SASRec",
    "SequenceKind",
    "SideNetwork",
    "TrainedRecommender",
    "Users",
    "export_encoder",
    "export_items",
    "from_pretrained",
    "load",
    "load_official_iisan",
    "push_to_hub",
    "save_pretrained",
]

# Fetched when first used, so that `python -m models --help` does not wait for torch. No name here may be that of a
# module of this package, which importing it would put in the name's place.
_MODULES = {
    "FUSIONS": "models.fusion",
    "FusionKind": "models.fusion",
    "GENERAL": "models.general",
    "GeneralKind": "models.general",
    "GeneralRecommender": "models.general",
    "ITEMS": "models.items",
    "IdEmbedding": "models.items",
    "ItemKind": "models.items",
    "Recommender": "models.recommender",
    "SASRec": "models.sequence",
    "SEQUENCES": "models.sequence",
    "SequenceKind": "models.sequence",
    "SideNetwork": "models.items",
    "TrainedRecommender": "models.runs.trained",
    "Users": "models.inputs.users",
    "export_encoder": "models.runs.export_merged",
    "export_items": "models.export",
    "from_pretrained": "models.runs.pretrained",
    "load": "models.runs.run",
    "load_official_iisan": "models.public_iisan.weights",
    "push_to_hub": "models.runs.pretrained",
    "save_pretrained": "models.runs.pretrained",
}


guard()  # before modules that import torch


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_MODULES[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
