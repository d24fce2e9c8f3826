"""Builds the parts of a training run from its config: data, batches, model, optimizer and step.

The parts take plain arguments and do not know the config.
"""

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import Any, cast, get_args

import torch
from accelerate import Accelerator
from accelerate.utils import DistributedType
from torch import nn

from models.adaptation import check_gradients
from models.build import (
    Begin,
    build,
    build_general,
    choose_loss,
    choose_objective,
    make_features,
)
from models.config import RunConfig
from models.inputs.batches import Batches
from models.inputs.features import Features
from models.inputs.sequences import InteractionSequences, UserSequences
from models.inputs.user_share import with_share_of_users
from models.machine.launcher import refuse_cut_up, settle_launch
from models.machine.sharding import (
    Shardable,
    average_whole,
    launcher_shards,
    move_whole,
    shard_encoders,
)
from models.parameters import count_trainable
from models.recommender import Model, Recommender
from models.training.optimizer import make_optimizer
from models.training.step import GraphStep, Step, gpu_recorder
from toolkit.dataset import Dataset, open_dataset
from toolkit.errors import UserError
from toolkit.splits import SplitName, Splits


@dataclass(frozen=True)
class Training:
    """The parts of a run in one process.

    Args:
        dataset: dataset of the run.
        splits: splits of the dataset under the run's protocol.
        features: source of the item encoder's inputs.
        batches: batches of this process.
        model: the unwrapped model, which is saved and evaluated.
        optimizer: optimizer, prepared by Accelerate.
        step: trains the wrapped model on one batch.
    """

    dataset: Dataset
    splits: Splits
    features: Features
    batches: Batches
    model: Model
    optimizer: Any
    step: Step | GraphStep

    @property
    def trainable_parameters(self) -> int:
        """The number of trainable parameters of the model."""
        return count_trainable(self.model)


def settled(config: RunConfig) -> RunConfig:
    """The config with the launcher's mixed precision and accumulation, which override the config's, and with every
    setting of the encoders that it trains, so that the record does not depend on what prep stores later.

    Raises:
        UserError: if the launcher sets a value that training does not support, or a tower has no encoder or no source.
    """
    if config.item_kind.trains_encoders:
        config = config.with_encoders(open_dataset(config.data))
    launched = settle_launch(
        mixed_precision=config.train.mixed_precision, accumulation=config.train.accumulation
    )
    return replace(config, train=replace(config.train, **launched._asdict()))


def prepare(config: RunConfig, accelerator: Accelerator, *, begin: Begin | None = None) -> Training:
    """Builds the parts of a run.

    Args:
        config: config of the run.
        accelerator: of the run.
        begin: replaces initial weights (`models.build.build`).

    Sets torch's random seed to the run's. A caller that needs its own random state wraps the call in
    `torch.random.fork_rng`.

    Raises:
        UserError: if the dataset or the settings are not valid for the run.
    """
    settings, device = config.train, accelerator.device
    if settings.cuda_graphs:
        _refuse_graphs(config, accelerator)
    if settings.compile and config.item_kind.trains_encoders:
        raise UserError(
            f"train.compile is not supported with item {config.item}, whose batches vary in number and length; leave out "
            "train.compile"
        )
    dataset = open_dataset(config.data)
    splits = dataset.splits(
        protocol=config.protocol, max_len=config.sequence.max_len, times=config.takes_times
    )
    splits = with_share_of_users(splits, settings.user_share, seed=settings.user_seed)
    for split in get_args(SplitName):
        splits.evaluation(split)  # refuses one without targets before training
    loss = choose_loss(config, splits)
    torch.manual_seed(settings.seed)
    model: Model
    if config.general_kind is None:
        model = build(config, dataset, loss=loss, begin=begin)
    else:
        model = build_general(config, dataset, splits, loss=loss, begin=begin)
    features = make_features(config, dataset, item_encoder=model.item_encoder, device=device)
    batches = Batches(
        splits,
        features,
        sequences=UserSequences(splits)
        if config.general_kind is None
        else InteractionSequences(splits.train),
        batch_size=settings.batch_size,
        seed=settings.seed,
        loss=loss,
        objective=choose_objective(config),
        negatives=settings.negatives,
        rank=accelerator.process_index,
        world=accelerator.num_processes,
        device=device,
        accumulation=settings.accumulation,
        fixed_sizes=settings.cuda_graphs,
        items_at_once=settings.items_at_once,
    )
    if settings.activation_checkpointing:
        _checkpoint_activations(config, model)
    if settings.compile:
        compile_parts(model, device)
    sharded = launcher_shards()
    if sharded:
        _shard(config, model, accelerator)
    optimizer = make_optimizer(
        model,
        rates=asdict(settings.rates),
        name=settings.optimizer,
        weight_decay=settings.weight_decay,
        group_weight_decay=settings.group_weight_decay,
        device=device,
        capturable=settings.cuda_graphs,
    )
    wrapped: nn.Module = model
    if sharded:
        optimizer = accelerator.prepare_optimizer(optimizer)
    else:
        wrapped, optimizer = accelerator.prepare(model, optimizer)
    wrapped.train()
    plain = Step(
        accelerator,
        wrapped,
        optimizer,
        clip_norm=settings.clip_norm,
        after_backward=partial(_complete_gradients, cast(Recommender, model)) if sharded else None,
        check=_check_of(model),
    )
    step = GraphStep(plain, gpu_recorder()) if settings.cuda_graphs else plain
    return Training(dataset, splits, features, batches, model, optimizer, step)


def compile_parts(model: Model, device: torch.device) -> None:
    """Compiles the item encoder and, on a GPU, the sequence encoder at their first use.

    On a CPU the sequence encoder skips padding, and its sizes vary too much to compile.
    """
    # With dynamic sizes from the start, torch does not compile again for each number of items.
    if model.item_encoder is not None:
        model.item_encoder.compile(dynamic=True if device.type == "cpu" else None)
    if device.type == "cuda" and isinstance(model, Recommender):
        model.sequence_encoder.compile()


def _check_of(model: Model) -> Callable[[], bool]:
    """The check of the first gradients: of encoders that train, and of an adapted sequence encoder."""
    item_encoder: Callable[[], bool] | None = getattr(model.item_encoder, "check_gradients", None)

    def check() -> bool:
        if isinstance(model, Recommender) and hasattr(model.sequence_encoder, "adapted"):
            check_gradients(model.sequence_encoder)
        return item_encoder is None or item_encoder()

    return check


def _shard(config: RunConfig, model: Model, accelerator: Accelerator) -> None:
    """Shards the encoders of a model, and moves the rest to this process's device."""
    if not config.item_kind.trains_encoders or config.general_kind is not None:
        refuse_cut_up(DistributedType.FSDP)
    reasons = {
        "mixed precision fp16": accelerator.mixed_precision == "fp16",
        "a quantized encoder": any(
            one.quantize not in (None, "none") for one in config.encoders.values()
        ),
    }
    for what, asked in reasons.items():
        if asked:
            raise UserError(
                f"the launcher asks for FSDP, which does not go with {what}; leave one of them out"
            )
    shard_encoders(
        cast(Shardable, model.item_encoder),
        device=accelerator.device,
        precision=config.train.mixed_precision,
    )
    move_whole(model, accelerator.device)


def _complete_gradients(model: Recommender, is_update: bool) -> None:
    """What DDP does for a whole model, after the backward pass of one whose encoders are sharded."""
    model.finish_backward()
    if is_update:
        average_whole(model)


def _checkpoint_activations(config: RunConfig, model: Model) -> None:
    if not config.item_kind.trains_encoders:
        raise UserError(
            f"train.activation_checkpointing is for encoders that train, and item is {config.item}; leave it out, or "
            "add --item encoders"
        )
    cast(Any, model.item_encoder).checkpoint_activations()


def _refuse_graphs(config: RunConfig, accelerator: Accelerator) -> None:
    reasons = {
        "a GPU": accelerator.device.type != "cuda",
        "a single process": accelerator.num_processes > 1,
        "bf16 or no mixed precision": accelerator.mixed_precision == "fp16",
        "train.items_at_once 0": config.train.items_at_once > 0,
        "train.accumulation 1": config.train.accumulation > 1,
        "stored states": config.item_kind.reads_towers
        and (config.states == "live" or config.item_kind.trains_encoders),
    }
    for requirement, violated in reasons.items():
        if violated:
            raise UserError(
                f"train.cuda_graphs requires {requirement}; leave out train.cuda_graphs, or change that setting"
            )
