"""Item encoders. `ITEMS` maps their names to their declarations."""

from models.items.id_embedding import ID, IdEmbedding
from models.items.kind import ItemKind
from models.items.side_network import SIDE_NETWORK, SideNetwork

ITEMS: dict[str, ItemKind] = {"side-network": SIDE_NETWORK, "id": ID}

__all__ = ["ITEMS", "IdEmbedding", "ItemKind", "SideNetwork"]
