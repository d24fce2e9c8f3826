"""From a run's config to its model and its loss: the only place where configs become arguments."""

from dataclasses import replace

from torch import nn

from models.candidates import Candidates, Full, InBatch, Sampled
from models.config import RunConfig
from models.items import IdEmbedding, SideNetwork
from models.recommender import Recommender
from models.sequence import SASRec
from toolkit.dataset import Dataset
from toolkit.errors import UserError
from toolkit.splits import Splits
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


def choose_candidates(config: RunConfig, splits: Splits) -> Candidates:
    """What the run's loss is taken over.

    Raises:
        UserError: if it would encode more content in every step than `train.full_limit` allows.
    """
    settings = config.train
    if settings.loss == "in-batch":
        return InBatch(splits)
    if settings.loss == "sampled":
        return Sampled(splits, count=settings.sampled_items, by=settings.sampled_by)
    items = len(splits.catalogue)
    if config.item != "id" and items > settings.full_limit:
        raise UserError(
            f"train.loss full encodes all {items:,} items of the catalogue in every step, more than "
            f"train.full_limit ({settings.full_limit:,}); take --train.loss sampled, or raise the limit"
        )
    return Full(splits)


def _tower(config: RunConfig, dataset: Dataset, name: str) -> TowerSpec:
    spec = dataset.tower(name)
    return replace(spec, modality=config.side.modality.get(name, spec.modality))
