"""Frozen encoders that give all their hidden states: one function loads them all."""

from collections.abc import Sequence

import torch

from toolkit.backbones import image, text
from toolkit.backbones.backbone import BATCH_SIZE, Backbone, Encoder, kept_states
from toolkit.backbones.pooling import Pooling
from toolkit.backbones.resolve import OPEN_CLIP, revision_of
from toolkit.errors import UserError
from toolkit.towers import Modality

__all__ = ["Backbone", "Encoder", "load_backbone"]


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
        modality: `text` or `image`.
        layers: which layers to keep (`toolkit.towers.select_layers`).
        pooling: `cls`, `mean` (over real tokens) or `last`.
        revision: hub revision to pin.
        max_tokens: texts are cut there (the papers: 30).
        lowercase: whether texts are lower-cased first (the papers: yes).
        batch_size: texts or images that go through it at a time.
        device: where to compute.
        trust_remote_code: runs code from the hub; off unless the user asks.

    Raises:
        UserError: if the encoder cannot be found, or lacks what is asked of it.
    """
    if encoder.startswith(OPEN_CLIP):
        loaded = _open_clip(encoder, modality, revision)
    elif modality == "text":
        loaded = text.load(
            encoder,
            revision=revision,
            max_tokens=max_tokens,
            lowercase=lowercase,
            trust_remote_code=trust_remote_code,
        )
    else:
        loaded = image.load(encoder, revision=revision, trust_remote_code=trust_remote_code)
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


def _open_clip(encoder: str, modality: Modality, revision: str | None) -> Encoder:
    from toolkit.backbones import openclip  # here: it takes seconds that others need not wait

    if modality != "image" or revision is not None:
        raise UserError(
            f"encoder {encoder!r}: open_clip encoders read covers and frames, at their newest revision; "
            "take a text encoder, or a pinned one, through transformers"
        )
    return openclip.load(encoder)
