"""Trained recommenders out of Arrow datasets: IISAN-Versa's side network and what it is compared with."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from toolkit.starting import guard

if TYPE_CHECKING:
    from models.export import export_items
    from models.items import IdEmbedding, SideNetwork
    from models.official import load_official_iisan
    from models.pretrained import from_pretrained, push_to_hub, save_pretrained
    from models.recommender import Recommender
    from models.run import TrainedRecommender, load
    from models.sequence import SASRec

__all__ = [
    "IdEmbedding",
    "Recommender",
    "SASRec",
    "SideNetwork",
    "TrainedRecommender",
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
    "IdEmbedding": "models.items",
    "Recommender": "models.recommender",
    "SASRec": "models.sequence",
    "SideNetwork": "models.items",
    "TrainedRecommender": "models.run",
    "export_items": "models.export",
    "from_pretrained": "models.pretrained",
    "load": "models.run",
    "load_official_iisan": "models.official",
    "push_to_hub": "models.pretrained",
    "save_pretrained": "models.pretrained",
}


guard()  # before modules that import torch


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_MODULES[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
