"""Trained recommenders out of Arrow datasets: IISAN-Versa's side network and what it is compared with."""

from models.items import IdEmbedding, SideNetwork
from models.official import load_official_iisan
from models.recommender import Recommender
from models.sequence import SASRec

__all__ = ["IdEmbedding", "Recommender", "SASRec", "SideNetwork", "load_official_iisan"]
