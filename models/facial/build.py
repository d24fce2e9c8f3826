"""Builds the network of a run: the one place below which nothing knows the config."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from transformers.models.auto.configuration_auto import CONFIG_MAPPING

from models.facial.augment import View
from models.facial.backbone import StageBackbone, load_stage_backbone
from models.facial.config import BackboneConfig, FaceConfig
from models.facial.network import VLFAU
from models.facial.rates import training_rates, weights_of_rates
from models.facial.texts import vocabulary_of
from toolkit.errors import UserError
from toolkit.facs import FILE, Facs, facs


def build_network(
    config: FaceConfig, labels: Any, subjects: Sequence[str], *, aus: Sequence[int]
) -> VLFAU:
    """The network of a run, with the random weights of PyTorch's generator.

    Args:
        config: of the run.
        labels: (N, A) of the training faces, whose rates weigh the AUs.
        subjects: (N,) their subjects.
        aus: (A,) numbers of the AUs in FACS.

    Raises:
        UserError: if the backbone cannot be loaded or built, or a setting does not fit it.
    """
    rates = training_rates(labels, subjects, training=set(subjects), aus=aus)
    backbone = _backbone(config.backbone)
    settings = asdict(config.network)
    try:
        return VLFAU(
            backbone,
            aus=aus,
            vocabulary=vocabulary_of(facs_of(config), aus),
            au_weights=weights_of_rates(rates).tolist(),
            **settings,
        )
    except ValueError as error:
        raise UserError(f"network: {error}; change --network.…") from None


def facs_file(config: FaceConfig) -> Path:
    """The file of the names and phrases of AUs."""
    return Path(config.facs) if config.facs else FILE


def facs_of(config: FaceConfig) -> Facs:
    """The names and phrases of AUs."""
    return facs(Path(config.facs).resolve()) if config.facs else facs()


def view_of(config: FaceConfig) -> View:
    """How pictures are resized, cropped and changed."""
    view = config.view
    return View(view.resize_px, view.crop_px, view.flip, view.jitter, view.square)


def _backbone(config: BackboneConfig) -> StageBackbone:
    if not config.architecture:
        return load_stage_backbone(config.name, revision=config.revision)
    values = dict(config.architecture)
    kind = str(values.pop("model_type", ""))
    if kind not in CONFIG_MAPPING:
        raise UserError(
            f"backbone.architecture: model_type is {kind!r}, which transformers does not know; use swin, swinv2, "
            "convnext or resnet"
        )
    try:
        return StageBackbone.from_config(CONFIG_MAPPING[kind](**values))
    except UserError:
        raise
    except Exception as error:  # transformers and torch raise many types for invalid settings
        reason = " ".join(str(error).split())
        raise UserError(
            f"backbone.architecture: not the settings of a {kind} ({reason:.200}); correct them"
        ) from None
