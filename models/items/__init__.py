"""The ways to make an item embedding."""

from models.items.id_embedding import IdEmbedding
from models.items.side_network import SideNetwork

__all__ = ["IdEmbedding", "SideNetwork"]
