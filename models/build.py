"""From a run's config to its model: the only place where configs become arguments."""

from dataclasses import replace

from torch import nn

from models.config import RunConfig
from models.items import IdEmbedding, SideNetwork
from models.recommender import Recommender
from models.sequence import SASRec
from toolkit.dataset import Dataset
from toolkit.errors import UserError
from toolkit.towers import TowerSpec


def build(config: RunConfig, dataset: Dataset) -> Recommender:
    """The recommender that a config describes, freshly initialised."""
    item_encoder: nn.Module
    if config.item == "id":
        item_encoder = IdEmbedding(dataset.items.num_rows, embedding_dim=config.side.embedding_dim)
    else:
        unknown = sorted(set(config.side.modality) - set(config.towers))
        if unknown:
            raise UserError(f"side.modality names {unknown}; the run's towers are {config.towers}")
        item_encoder = SideNetwork(
            [_tower(config, dataset, name) for name in config.towers],
            embedding_dim=config.side.embedding_dim,
            bottleneck=config.side.bottleneck,
            activation=config.side.activation,
        )
    sequence_encoder = SASRec(
        embedding_dim=config.side.embedding_dim,
        max_len=config.sequence.max_len,
        heads=config.sequence.heads,
        blocks=config.sequence.blocks,
        dropout=config.sequence.dropout,
    )
    return Recommender(item_encoder, sequence_encoder)


def _tower(config: RunConfig, dataset: Dataset, name: str) -> TowerSpec:
    spec = dataset.tower(name)
    return replace(spec, modality=config.side.modality.get(name, spec.modality))
