"""From a run's config to its model and its loss: the only place where configs become arguments."""

from dataclasses import asdict, replace
from pathlib import Path

import torch
from torch import nn

from models.config import RunConfig, SideConfig
from models.inputs.features import Features, ItemNumbers, StoredStates, load_live
from models.inputs.provenance import describe_towers
from models.items import IdEmbedding, SideNetwork
from models.items.side_network import INTER
from models.losses.candidates import Candidates, Full, InBatch, Sampled
from models.public_iisan.weights import begin_from_official, read_weights
from models.recommender import Recommender
from models.sequence import SASRec
from toolkit.dataset import Dataset
from toolkit.errors import UserError
from toolkit.splits import Splits
from toolkit.towers import TowerSpec


def build(config: RunConfig, dataset: Dataset) -> Recommender:
    """The recommender that a config describes, freshly initialised or from the weights it names.

    Raises:
        UserError: if the config does not fit the run's towers, or the weights do not fit the config.
    """
    item_encoder: nn.Module
    initial_std = config.train.initial_std or None
    if config.item == "id":
        item_encoder = IdEmbedding(
            dataset.items.num_rows,
            embedding_dim=config.side.embedding_dim,
            initial_std=initial_std,
        )
    else:
        item_encoder = _side_network(config, dataset)
    sequence_encoder = SASRec(
        embedding_dim=config.side.embedding_dim,
        max_len=config.sequence.max_len,
        heads=config.sequence.heads,
        blocks=config.sequence.blocks,
        dropout=config.sequence.dropout,
        initial_std=initial_std,
    )
    made_with = describe_towers(dataset, config.towers)
    model = Recommender(item_encoder, sequence_encoder, made_with=made_with)
    if config.init_from:
        begin_from_official(model, read_weights(Path(config.init_from)), name=config.init_from)
    return model


def _side_network(config: RunConfig, dataset: Dataset) -> SideNetwork:
    side = config.side
    _check_names("side.modality", set(side.modality), config.towers)
    _check_names("side.bottlenecks", set(side.bottlenecks) - {INTER}, config.towers)
    if side.parts == INTER and len(config.towers) == 1:
        raise UserError(
            f"side.parts is inter, the tower between towers, and the run has one: {config.towers}; "
            "name another tower, or leave side.parts out"
        )
    return SideNetwork(
        [_tower(config, dataset, name) for name in config.towers],
        embedding_dim=side.embedding_dim,
        bottleneck=_bottlenecks(side, config.towers),
        inter_bottleneck=side.bottlenecks.get(INTER),
        activation=side.activation,
        dropout=side.dropout,
        parts=side.parts,
        mixing=side.mixing,
        wide_heads=side.wide_heads,
    )


def _bottlenecks(side: SideConfig, towers: list[str]) -> dict[str, int]:
    return {name: side.bottlenecks.get(name, side.bottleneck) for name in towers}


def _check_names(key: str, named: set[str], towers: list[str]) -> None:
    unknown = sorted(named - set(towers))
    if unknown:
        raise UserError(f"{key} names {unknown}; the run's towers are {towers}")


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


def make_features(
    config: RunConfig, dataset: Dataset, *, device: torch.device | str = "cpu"
) -> Features:
    """What the run's item encoder reads."""
    if config.item == "id":
        return ItemNumbers(dataset.items.num_rows, device=device)
    if not config.towers:
        raise UserError(
            "towers: none named; use a preset (--config text-only) or --towers '[title]'; "
            f"stored in {config.data}: {dataset.towers() or 'none'}"
        )
    if config.states == "live":
        return load_live(dataset, config.towers, device=device)
    tables = {name: dataset.state_table(name) for name in config.towers}
    return StoredStates(tables, device=device, **asdict(config.residency))
