"""Builds the model, loss, objective and features of a run from its config. Other modules take plain arguments."""

from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from inspect import signature
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.config import RunConfig
from models.fusion import FUSIONS
from models.general import GeneralRecommender
from models.general.kind import observe
from models.inputs.features import Features, ItemNumbers, StoredStates, load_live
from models.inputs.interactions import Interactions
from models.inputs.joined_features import JoinedFeatures
from models.inputs.provenance import describe_towers
from models.inputs.sources import Sources, refuse_short_clips
from models.items import ITEMS
from models.items.stored_tokens import open_required_tokens
from models.losses import LOSSES, OBJECTIVES
from models.losses.kind import known_kind
from models.losses.loss import Loss
from models.losses.objectives import Objective
from models.losses.softmax import softmax_of_batch
from models.recommender import Model, Recommender
from toolkit.dataset import Dataset
from toolkit.errors import UserError
from toolkit.splits import Splits
from toolkit.states import LastState

Begin = Callable[[Model], None]
MakeFeatures = Callable[[RunConfig, Dataset, torch.device | str, nn.Module | None], Features]


def build(
    config: RunConfig,
    dataset: Dataset,
    *,
    loss: Loss | None = None,
    begin: Begin | None = None,
) -> Recommender:
    """Builds the sequential recommender of a config, with new initial weights unless `begin` replaces them.

    Args:
        config: config of the run.
        dataset: dataset of the run.
        loss: training loss; by default the softmax over the columns of a batch.
        begin: replaces initial weights, in place, before the sequence encoder is adapted (`models.transfer.initial`).

    Raises:
        UserError: if the config does not fit the run's towers, or the weights do not fit the config.
    """
    item_encoder = build_item_encoder(config, dataset)
    sequence_encoder = config.sequence_kind.build(
        config.sequence,
        embedding_dim=config.side.embedding_dim,
        initial_std=config.train.initial_std or None,
    )
    refuse_other_objective(config.train.objective, sequence_encoder)
    made_with = describe_towers(dataset, config.reads)
    model = Recommender(
        item_encoder, sequence_encoder, criterion=loss or softmax_of_batch, made_with=made_with
    )
    if begin is not None:
        begin(model)
    config.sequence_kind.adapt(sequence_encoder, config.sequence)
    return model


def build_item_encoder(config: RunConfig, dataset: Dataset) -> nn.Module:
    """Builds the item encoder of a config, with new initial weights.

    Raises:
        UserError: if the config does not fit the run's towers.
    """
    kind, fusion = config.item_kind, config.fusion_kind
    refuse_unfit_fusion(config)
    config = config.with_encoders(dataset)
    if kind.reads_towers:
        refuse_no_towers(config, dataset)
    content: dict[str, Any] = (
        {"encoders": config.encoders}
        if kind.trains_encoders
        else {"towers": [dataset.tower(name) for name in config.content]}
    )
    return kind.build(
        getattr(config, kind.section),
        items=dataset.items.num_rows,
        **content,
        embedding_dim=config.side.embedding_dim,
        fusion=fusion.make(config.fusion),
        initial_std=config.train.vector_std or config.train.initial_std or None,
        **({"parts": config.towers} if kind.takes_id_tower else {}),
    )


def build_general(
    config: RunConfig,
    dataset: Dataset,
    splits: Splits,
    *,
    loss: Loss | None = None,
    begin: Begin | None = None,
) -> GeneralRecommender:
    """Builds the general recommender of a config; one that is not trained by gradient descent is complete afterwards.

    Args:
        config: config of the run.
        dataset: dataset of the run.
        splits: splits with the training interactions.
        loss: training loss; by default the softmax over the columns of a batch.
        begin: replaces initial weights, in place (`models.transfer.initial`).

    Raises:
        UserError: if the config does not fit the run's towers or training interactions.
    """
    kind = config.general_kind
    assert kind is not None
    if config.item_kind.reads_towers:
        refuse_no_towers(config, dataset)
    item_encoder = build_item_encoder(config, dataset) if config.encodes_items else None
    network = kind.build(
        config.recommender,
        users=len(splits.user_ids),
        items=dataset.items.num_rows,
        embedding_dim=config.side.embedding_dim,
        max_len=config.sequence.max_len,
        initial_std=config.train.initial_std or None,
    )
    features = _last_states(config, dataset) if kind.reads == "features" else {}
    observe(network, Interactions.of(splits), features)
    criterion = loss or softmax_of_batch
    if (
        kind.trains
        and hasattr(network, "scores")
        and "scores" not in signature(criterion).parameters
    ):
        raise UserError(
            f"train.loss {config.train.loss} compares dot products only, and {kind.noun} computes its own scores; choose "
            "another loss"
        )
    model = GeneralRecommender(
        network,
        item_encoder=item_encoder,
        criterion=criterion,
        made_with=describe_towers(dataset, config.reads),
    )
    if begin is not None:
        begin(model)
    return model


def _last_states(config: RunConfig, dataset: Dataset) -> dict[str, Tensor]:
    """The last of the stored states of each tower, (N + 1, D), row 0 zeros."""
    numbers = torch.arange(1, dataset.items.num_rows + 1)
    states = _pooled(config, dataset, "cpu", None).gather(numbers)
    return {name: F.pad(x[:, -1].float(), (0, 0, 1, 0)) for name, x in states.items()}


def refuse_no_towers(config: RunConfig, dataset: Dataset) -> None:
    """Refuses a run over content that names none.

    Raises:
        UserError: naming what is stored.
    """
    if not config.content:
        raise UserError(
            "towers: the list is empty; use a preset (--config text-only) or --towers '[title]'; "
            f"towers stored in {config.data}: {dataset.towers() or 'none'}"
        )


def refuse_unfit_fusion(config: RunConfig) -> None:
    """Refuses a fusion of what the item encoder does not have, or of more towers than the run has.

    Raises:
        UserError: naming what to choose instead.
    """
    kind, fusion, name = config.item_kind, config.fusion_kind, config.fusion.kind
    if not kind.joins:
        return
    if fusion.joins not in kind.joins:
        items = [item for item, other in ITEMS.items() if fusion.joins in other.joins]
        fusions = [other for other, one in FUSIONS.items() if one.joins in kind.joins]
        raise UserError(
            f"fusion.kind {name} joins {fusion.joins}, but the parts of {kind.noun} are {' or '.join(kind.joins)}; "
            f"choose --item {' or '.join(items)}, or one of these fusions: {', '.join(fusions)}"
        )
    if 0 < len(config.towers) < fusion.least:
        raise UserError(
            f"fusion.kind {name} joins at least {fusion.least} towers, and the run has {config.towers}; add a tower, or "
            "leave out fusion.kind"
        )


def choose_loss(config: RunConfig, splits: Splits) -> Loss:
    """Builds the loss of a run.

    Raises:
        UserError: if the loss or one of its settings is unknown, or if it would encode a catalogue with content that
            exceeds `train.full_limit`.
    """
    settings = config.train
    kind = known_kind(LOSSES, settings.loss, key="train.loss")
    items = len(splits.catalogue)
    encodes_content = (
        kind.encodes_catalogue and config.encodes_items and config.item_kind.reads_towers
    )
    if encodes_content and items > settings.full_limit:
        raise UserError(
            f"train.loss {settings.loss} encodes all {items:,} items of the catalogue in every step, more than "
            f"train.full_limit ({settings.full_limit:,}); use --train.loss sampled, or raise the limit"
        )
    shared = {argument: getattr(settings, key) for argument, key in kind.reads.items()}
    try:
        arguments = signature(kind.make).bind(splits, **shared, **settings.loss_settings)
    except TypeError as error:
        raise UserError(f"train.loss_settings: train.loss {settings.loss} {error}") from None
    return kind.make(*arguments.args, **arguments.kwargs)


def choose_objective(config: RunConfig) -> Objective:
    """Returns the objective of a run, with its settings applied.

    Raises:
        UserError: if the objective is unknown.
    """
    kind = known_kind(OBJECTIVES, config.train.objective, key="train.objective")
    settings = {argument: getattr(config.train, key) for argument, key in kind.reads.items()}
    return partial(kind.examples, **settings)


def refuse_other_objective(name: str, sequence_encoder: nn.Module) -> None:
    """Refuses an objective with which a sequence encoder cannot be trained.

    Args:
        name: name of the objective.
        sequence_encoder: the encoder; it declares `takes_mask = True` if it predicts items behind mask tokens.

    Raises:
        UserError: if only one of the two uses mask tokens.
    """
    masks = known_kind(OBJECTIVES, name, key="train.objective").masks
    takes_mask = getattr(sequence_encoder, "takes_mask", False)
    encoder = type(sequence_encoder).__name__
    if masks and not takes_mask:
        raise UserError(
            f"train.objective {name} hides items behind a mask token, which {encoder} does not support; choose a "
            "sequence encoder that declares takes_mask, or --train.objective next-item"
        )
    if takes_mask and not masks:
        raise UserError(
            f"train.objective {name} hides no items, but {encoder} reads the items after a position as well as those "
            "before it; choose --train.objective masked-item"
        )


def make_features(
    config: RunConfig,
    dataset: Dataset,
    *,
    item_encoder: nn.Module | None = None,
    device: torch.device | str = "cpu",
) -> Features:
    """The inputs of the run's item encoder, as its kind declares them, by name; item numbers if it has none.

    Args:
        config: of the run.
        dataset: that it reads.
        item_encoder: the module, whose own encoders say how raw content is prepared; only needed where its kind reads
            sources.
        device: where features are wanted.

    Raises:
        UserError: if the encoder reads towers but `towers` is empty, or if a tower cannot be read.
    """
    reads: tuple[str, ...] = ("numbers",)
    if config.encodes_items:
        reads = config.item_kind.reads_of(config.towers)
    if len(reads) > 1 and "id" in config.content:
        raise UserError(
            f"a tower is named 'id', which {config.item_kind.noun} reads as item numbers; rename it"
        )
    sources = [FEATURES[name](config, dataset, device, item_encoder) for name in reads]
    return sources[0] if len(sources) == 1 else JoinedFeatures(sources)


def _numbers(
    config: RunConfig, dataset: Dataset, device: torch.device | str, item_encoder: Any
) -> Features:
    return ItemNumbers(dataset.items.num_rows, device=device)


def _states(
    config: RunConfig, dataset: Dataset, device: torch.device | str, item_encoder: Any
) -> Features:
    refuse_no_towers(config, dataset)
    if config.states == "live":
        return load_live(dataset, config.content, device=device)
    tables = {name: dataset.state_table(name) for name in config.content}
    return StoredStates(tables, device=device, **asdict(config.residency))


def _pooled(
    config: RunConfig, dataset: Dataset, device: torch.device | str, item_encoder: Any
) -> Features:
    """As `_states`, but only the last of the stored states takes memory."""
    if config.states == "live" or not config.content:
        return _states(config, dataset, device, item_encoder)
    tables = {name: LastState(dataset.state_table(name)) for name in config.content}
    return StoredStates(tables, device=device, **asdict(config.residency))


def _sources(
    config: RunConfig, dataset: Dataset, device: torch.device | str, item_encoder: Any
) -> Features:
    tokens = {
        name: open_required_tokens(dataset, name, required)
        for name, required in item_encoder.tokens.items()
    }
    read = {name: x for name, x in item_encoder.preparers.items() if name not in tokens}
    refuse_short_clips(dataset, read, item_encoder.sources)
    return Sources(
        dataset,
        item_encoder.preparers,
        item_encoder.sources,
        tokens=tokens,
        device=device,
        workers=config.train.workers,
    )


# Builders of the features that an item encoder can declare (`models.items.kind.Reads`).
FEATURES: dict[str, MakeFeatures] = {
    "numbers": _numbers,
    "states": _states,
    "pooled": _pooled,
    "sources": _sources,
}
