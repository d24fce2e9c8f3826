"""Frozen encoders that give all their hidden states: one function loads them all."""

from collections.abc import Sequence
from typing import Any

import torch

from toolkit.backbones import image, text, video
from toolkit.backbones.backbone import BATCH_SIZE, Backbone, Encoder, kept_states
from toolkit.backbones.kinds import frames_needed, frames_of, read_config, refuse_other
from toolkit.backbones.pooling import Pooling
from toolkit.backbones.resolve import OPEN_CLIP, revision_of
from toolkit.errors import UserError
from toolkit.towers import Modality

__all__ = ["Backbone", "Encoder", "frames_needed", "load_backbone"]


def load_backbone(
    encoder: str,
    *,
    modality: Modality,
    layers: str | Sequence[int] = "all",
    pooling: Pooling = "cls",
    revision: str | None = None,
    max_tokens: int = 30,
    lowercase: bool = True,
    batch_size: int = BATCH_SIZE,
    device: str | torch.device = "cpu",
    trust_remote_code: bool = False,
) -> Backbone:
    """Loads a frozen encoder, from safetensors only.

    Args:
        encoder: folder, `package:NAME/SUBFOLDER` or hub name, loaded by transformers;
            `open_clip:FOLDER` or `open_clip:HUB_NAME`, by open_clip.
        modality: `text`, or `image` for covers and frames. What reads whole clips at once (a video
            encoder) follows from the encoder's configuration.
        layers: which layers to keep (`toolkit.towers.select_layers`).
        pooling: `cls`, `mean` (over real tokens) or `last`.
        revision: hub revision to pin.
        max_tokens: texts are cut there (the papers: 30).
        lowercase: whether texts are lower-cased first (the papers: yes).
        batch_size: texts or images that go through it at a time; every frame of a clip is an image.
        device: where to compute.
        trust_remote_code: runs code from the hub; off unless the user asks.

    Raises:
        UserError: if the encoder cannot be found, or lacks what is asked of it.
    """
    hub: dict[str, Any] = {"revision": revision, "trust_remote_code": trust_remote_code}
    texts: dict[str, Any] = {"max_tokens": max_tokens, "lowercase": lowercase}
    if encoder.startswith(OPEN_CLIP):
        loaded = _open_clip(encoder, modality, revision, texts)
    else:
        config = read_config(encoder, **hub)
        refuse_other(encoder, config, modality)
        if modality == "text":
            loaded = text.load(encoder, **hub, **texts)
        elif frames := frames_of(config):
            loaded = video.load(encoder, config, frames, **hub)
        else:
            loaded = image.load(encoder, **hub)
    _refuse_pooling(encoder, loaded, pooling)
    loaded.model.to(device)
    return Backbone(
        name=encoder,
        revision=revision_of(encoder, loaded.commit),
        modality=modality,
        encoder=loaded,
        kept=kept_states(layers, loaded.depth),
        pooling=pooling,
        batch_size=batch_size,
    )


def _open_clip(
    encoder: str, modality: Modality, revision: str | None, texts: dict[str, Any]
) -> Encoder:
    from toolkit.backbones import openclip  # here: it takes seconds that others need not wait

    if revision is not None:
        raise UserError(
            f"encoder {encoder!r}: open_clip takes the newest revision, and {revision!r} is asked for; "
            "take a pinned one through transformers, or download it and give the folder"
        )
    return (
        openclip.load_image(encoder)
        if modality == "image"
        else openclip.load_text(encoder, **texts)
    )


def _refuse_pooling(encoder: str, loaded: Encoder, pooling: Pooling) -> None:
    if pooling == "cls" and not loaded.has_cls:
        raise UserError(
            f"encoder {encoder!r} ({type(loaded.model).__name__}) has no [CLS] token, and pooling is cls; "
            "set pooling mean"
        )
