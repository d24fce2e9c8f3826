"""Frozen encoders that give all their hidden states: one function loads them all."""

from collections.abc import Sequence
from typing import Any

import torch

from toolkit.backbones import image, text, video
from toolkit.backbones.backbone import BATCH_SIZE, Backbone, Encoder, kept_states
from toolkit.backbones.kinds import frames_needed, frames_of, read_config, refuse_other
from toolkit.backbones.pooling import Pooling
from toolkit.backbones.resolve import OPEN_CLIP, revision_of
from toolkit.backbones.weights import Precision, Quantize, Weights
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
    batch_tokens: int | None = None,
    device: str | torch.device = "cpu",
    device_map: str | None = None,
    dtype: Precision = "auto",
    quantize: Quantize = "none",
    trust_remote_code: bool = False,
) -> Backbone:
    """Loads a frozen encoder, from safetensors only.

    Args:
        encoder: folder, `package:NAME/SUBFOLDER` or hub name, loaded by transformers;
            `open_clip:FOLDER` or `open_clip:HUB_NAME`, by open_clip.
        modality: `text`, or `image` for covers and frames. What reads whole clips at once (a video
            encoder) follows from the encoder's configuration.
        layers: which layers to keep (`toolkit.towers.select_layers`).
        pooling: `cls` (not of decoder-only encoders), `mean` (over real tokens) or `last`.
        revision: hub revision to pin.
        max_tokens: texts are cut there (the papers: 30).
        lowercase: whether texts are lower-cased first (the papers: yes).
        batch_size: images that go through it at a time; every frame of a clip is an image.
        batch_tokens: tokens of texts, padding counted, that do; by default what suits the device.
        device: where to compute.
        device_map: instead of a device, what transformers takes to spread a model: auto, balanced, ...
        dtype: precision to compute in; `auto` is float32 on a CPU and `saved` elsewhere, `saved` is what
            the weights were saved in.
        quantize: `8bit` or `4bit` loads the weights so, through bitsandbytes.
        trust_remote_code: runs code from the hub; off unless the user asks.

    Raises:
        UserError: if the encoder cannot be found, or lacks what is asked of it.
    """
    weights = Weights(str(device), device_map, dtype, quantize)
    hub: dict[str, Any] = {"revision": revision, "trust_remote_code": trust_remote_code}
    texts: dict[str, Any] = {"max_tokens": max_tokens, "lowercase": lowercase}
    if encoder.startswith(OPEN_CLIP):
        loaded = _open_clip(encoder, modality, revision, weights, texts)
    else:
        config = read_config(encoder, **hub)
        refuse_other(encoder, config, modality)
        if modality == "text":
            loaded = text.load(encoder, **hub, **texts, pooling=pooling, weights=weights)
        elif frames := frames_of(config):
            loaded = video.load(encoder, config, frames, **hub, weights=weights)
        else:
            loaded = image.load(encoder, **hub, weights=weights)
    _refuse_pooling(encoder, loaded, pooling)
    return Backbone(
        name=encoder,
        revision=revision_of(encoder, loaded.commit),
        modality=modality,
        encoder=loaded,
        kept=kept_states(layers, loaded.depth),
        pooling=pooling,
        batch_size=batch_size,
        batch_tokens=batch_tokens,
        quantize=quantize,
    )


def _open_clip(
    encoder: str,
    modality: Modality,
    revision: str | None,
    weights: Weights,
    texts: dict[str, Any],
) -> Encoder:
    from toolkit.backbones import openclip  # here: it takes seconds that others need not wait

    if revision is not None:
        raise UserError(
            f"encoder {encoder!r}: open_clip takes the newest revision, and {revision!r} is asked for; "
            "take a pinned one through transformers, or download it and give the folder"
        )
    if weights != Weights(weights.device, dtype=weights.dtype):
        raise UserError(
            f"encoder {encoder!r}: open_clip encoders are loaded whole, onto one device; "
            "leave out device_map and quantize"
        )
    if modality == "image":
        loaded = openclip.load_image(encoder)
    else:
        loaded = openclip.load_text(encoder, **texts)
    precise = weights.dtype in ("auto", "saved")  # open_clip's own default is float32
    loaded.model.to(weights.device, torch.float32 if precise else getattr(torch, weights.dtype))
    return loaded


def _refuse_pooling(encoder: str, loaded: Encoder, pooling: Pooling) -> None:
    if pooling == "cls" and not loaded.has_cls:
        raise UserError(
            f"encoder {encoder!r} ({type(loaded.model).__name__}) has no [CLS] token, and pooling is cls; "
            "set pooling mean"
        )
