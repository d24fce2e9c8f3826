"""Item encoders. `ITEMS` maps their names to their declarations."""

from models.items.encoders import ENCODERS, TrainedEncoders
from models.items.id_embedding import ID, IdEmbedding
from models.items.kind import ItemKind
from models.items.pooled import POOLED, Pooled
from models.items.side_network import SIDE_NETWORK, SideNetwork

ITEMS: dict[str, ItemKind] = {
    "side-network": SIDE_NETWORK,
    "id": ID,
    "pooled": POOLED,
    "encoders": ENCODERS,
}

__all__ = ["ITEMS", "IdEmbedding", "ItemKind", "Pooled", "SideNetwork", "TrainedEncoders"]
