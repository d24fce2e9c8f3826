"""From a run's config to its model and its loss: the only place where configs become arguments."""

from dataclasses import asdict, replace
from functools import partial
from inspect import signature
from pathlib import Path

import torch
from torch import nn

from models.config import RunConfig, SideConfig
from models.inputs.features import Features, ItemNumbers, StoredStates, load_live
from models.inputs.provenance import describe_towers
from models.items import IdEmbedding, SideNetwork
from models.items.side_network import INTER
from models.losses import LOSSES, OBJECTIVES
from models.losses.kind import known_kind
from models.losses.loss import Loss
from models.losses.objectives import Objective
from models.losses.softmax import softmax_of_batch
from models.public_iisan.weights import begin_from_official, read_weights
from models.recommender import Recommender
from models.sequence import SASRec
from toolkit.dataset import Dataset
from toolkit.errors import UserError
from toolkit.splits import Splits
from toolkit.towers import TowerSpec


def build(config: RunConfig, dataset: Dataset, *, loss: Loss | None = None) -> Recommender:
    """The recommender that a config describes, freshly initialised or from the weights it names.

    Args:
        config: of the run.
        dataset: that it reads.
        loss: that training computes; by default the softmax over the columns of a batch.

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
    refuse_other_objective(config.train.objective, sequence_encoder)
    made_with = describe_towers(dataset, config.towers)
    model = Recommender(
        item_encoder, sequence_encoder, criterion=loss or softmax_of_batch, made_with=made_with
    )
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


def choose_loss(config: RunConfig, splits: Splits) -> Loss:
    """The loss that a run trains with.

    Raises:
        UserError: if the loss or one of its settings is unknown, or it would encode more content in every step than
            `train.full_limit` allows.
    """
    settings = config.train
    kind = known_kind(LOSSES, settings.loss, key="train.loss")
    items = len(splits.catalogue)
    if kind.encodes_catalogue and config.item != "id" and items > settings.full_limit:
        raise UserError(
            f"train.loss {settings.loss} encodes all {items:,} items of the catalogue in every step, more than "
            f"train.full_limit ({settings.full_limit:,}); take --train.loss sampled, or raise the limit"
        )
    read = {argument: getattr(settings, key) for argument, key in kind.reads.items()}
    try:
        arguments = signature(kind.make).bind(splits, **read, **settings.loss_settings)
    except TypeError as error:
        raise UserError(f"train.loss_settings: train.loss {settings.loss} {error}") from None
    return kind.make(*arguments.args, **arguments.kwargs)


def choose_objective(config: RunConfig) -> Objective:
    """Which positions a run predicts, from which inputs.

    Raises:
        UserError: if the objective is unknown.
    """
    kind = known_kind(OBJECTIVES, config.train.objective, key="train.objective")
    read = {argument: getattr(config.train, key) for argument, key in kind.reads.items()}
    return partial(kind.examples, **read)


def refuse_other_objective(name: str, sequence_encoder: nn.Module) -> None:
    """Makes sure that a sequence encoder can be trained with an objective.

    Args:
        name: of the objective.
        sequence_encoder: which declares `takes_mask = True` if it predicts what mask tokens hide.

    Raises:
        UserError: if one has mask tokens and the other has none.
    """
    masks = known_kind(OBJECTIVES, name, key="train.objective").masks
    takes_mask = getattr(sequence_encoder, "takes_mask", False)
    encoder = type(sequence_encoder).__name__
    if masks and not takes_mask:
        raise UserError(
            f"train.objective {name} hides items behind a mask token, and {encoder} takes none; choose a sequence "
            "encoder that declares takes_mask, or --train.objective next-item"
        )
    if takes_mask and not masks:
        raise UserError(
            f"train.objective {name} hides no items, and {encoder} sees the items after a position as well as those "
            "before it; choose --train.objective masked-item"
        )


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
