"""Trained recommenders out of Arrow datasets: IISAN-Versa's side network and what it is compared with."""

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
