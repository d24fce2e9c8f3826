"""Encoders of every library, loaded by one function."""

from collections.abc import Sequence
from typing import Any

import torch

from toolkit.backbones import image, text, video
from toolkit.backbones.encoder import Encoder
from toolkit.backbones.final_norm import find_final_norm
from toolkit.backbones.frozen import BATCH_SIZE, FrozenEncoder
from toolkit.backbones.kinds import frames_of, read_config, refuse_clip_settings, refuse_other
from toolkit.backbones.network import Network
from toolkit.backbones.resolve import OPEN_CLIP, revision_of
from toolkit.backbones.samples import sample_payload
from toolkit.backbones.spec import EncoderSpec, Pooling, Precision, Quantize
from toolkit.backbones.weights import Weights
from toolkit.backbones.zoo.name import ZooName, parse_zoo_name
from toolkit.errors import UserError
from toolkit.towers import Modality


def load_encoder(
    spec: EncoderSpec,
    *,
    device: str | torch.device = "cpu",
    device_map: str | None = None,
    final_norm: bool = False,
) -> Encoder:
    """Loads an encoder that training can differentiate through, from safetensors only.

    Nothing is frozen. It is in evaluation mode until `train()` is called, and its dropout is its own.

    Args:
        spec: which encoder, what it reads, and which of its states are kept.
        device: where to compute.
        device_map: instead of a device, how transformers spreads the model: auto, balanced, ...
        final_norm: whether the state of the last layer is read through the network's final norm, if that state comes
            before it (ViT, CLIP). Stored states are those before it.

    Raises:
        UserError: if the encoder cannot be found, or lacks what `spec` asks for.
    """
    weights = Weights(str(device), device_map, spec.dtype, spec.quantize)
    hub: dict[str, Any] = {
        "revision": spec.revision,
        "trust_remote_code": spec.trust_remote_code,
    }
    texts: dict[str, Any] = {"max_tokens": spec.token_limit, "lowercase": spec.lowercase}
    if (zoo := parse_zoo_name(spec.encoder)) is not None:
        network = _zoo(zoo, spec, weights)
    elif spec.encoder.startswith(OPEN_CLIP):
        refuse_clip_settings(spec.encoder, frame_count=spec.frame_count, crop_px=spec.crop_px)
        network = _open_clip(spec.encoder, spec.modality, spec.revision, weights, texts)
    else:
        config = read_config(spec.encoder, **hub)
        refuse_other(spec.encoder, config, spec.modality)
        frames = frames_of(config) if spec.modality == "image" else None
        count = spec.frame_count
        refuse_clip_settings(
            spec.encoder, frame_count=None if frames else count, crop_px=spec.crop_px
        )
        if spec.modality == "text":
            network = text.load(spec.encoder, **hub, **texts, pooling=spec.pooling, weights=weights)
        elif frames:
            network = video.load(
                spec.encoder, config, frames, frame_count=count, **hub, weights=weights
            )
        else:
            network = image.load(spec.encoder, **hub, weights=weights)
    if spec.pooling == "cls" and not network.has_cls:
        raise UserError(
            f"encoder {spec.encoder!r} ({type(network.model).__name__}) has no [CLS] token, and pooling is cls; "
            "set pooling mean"
        )
    encoder = Encoder(network, spec, revision=revision_of(spec.encoder, network.commit)).eval()
    if final_norm:
        sample = encoder.prepare([sample_payload(encoder.modality, encoder.frames)])
        encoder.final_norm = find_final_norm(encoder.model, lambda: encoder.hidden(sample))
    return encoder


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
    workers: int = 0,
    device: str | torch.device = "cpu",
    device_map: str | None = None,
    dtype: Precision = "auto",
    quantize: Quantize = "none",
    trust_remote_code: bool = False,
    frame_count: int | None = None,
    crop_px: int | None = None,
) -> FrozenEncoder:
    """Loads a frozen encoder: `load_encoder` and `FrozenEncoder` in one call, for notebooks.

    Args:
        encoder: see `EncoderSpec`, as all settings that are not listed here.
        modality: `text` reads titles, `image` covers and frames.
        layers: which layers to keep (`toolkit.towers.select_layers`).
        pooling: how the tokens of a layer become one vector.
        revision: hub revision to pin.
        max_tokens: longer texts are cut there.
        lowercase: whether texts are lower-cased first.
        batch_size: see `FrozenEncoder`.
        batch_tokens: see `FrozenEncoder`.
        workers: see `FrozenEncoder`.
        device: see `load_encoder`.
        device_map: see `load_encoder`.
        dtype: precision to compute in.
        quantize: how the weights are quantised while loading.
        trust_remote_code: runs code from the hub; off unless the user asks.
        frame_count: how many frames a video encoder reads of a clip.
        crop_px: height and width of these frames.

    Raises:
        UserError: if the encoder cannot be found, or lacks what is asked of it.
    """
    spec = EncoderSpec(
        encoder,
        source="title" if modality == "text" else "cover",
        pooling=pooling,
        layers=layers if isinstance(layers, str) else list(layers),
        revision=revision,
        max_tokens=max_tokens,
        lowercase=lowercase,
        dtype=dtype,
        quantize=quantize,
        trust_remote_code=trust_remote_code,
        frame_count=frame_count,
        crop_px=crop_px,
    )
    loaded = load_encoder(spec, device=device, device_map=device_map)
    return FrozenEncoder(loaded, batch_size=batch_size, batch_tokens=batch_tokens, workers=workers)


def _open_clip(
    encoder: str,
    modality: Modality,
    revision: str | None,
    weights: Weights,
    texts: dict[str, Any],
) -> Network:
    from toolkit.backbones import (
        openclip,
    )  # here: its import takes seconds that others need not wait

    if revision is not None:
        raise UserError(
            f"encoder {encoder!r}: open_clip takes the newest revision, and {revision!r} is asked for; "
            "take a pinned one through transformers, or download it and give the folder"
        )
    _refuse_spread(encoder, "open_clip", weights)
    if modality == "image":
        network = openclip.load_image(encoder)
    else:
        network = openclip.load_text(encoder, **texts)
    return _moved(network, weights)


def _zoo(name: ZooName, spec: EncoderSpec, weights: Weights) -> Network:
    from toolkit.backbones.zoo import loading  # here: torchvision's models take seconds, too

    if spec.modality == "text":
        raise UserError(
            f"encoder {spec.encoder!r} reads clips, and this tower's source is {spec.source}; set its source to frames"
        )
    if spec.revision is not None:
        raise UserError(
            f"encoder {spec.encoder!r}: revision is {spec.revision!r}, and weights from a file have none; leave it out"
        )
    _refuse_spread(spec.encoder, name.library, weights)
    network = loading.load(name, frame_count=spec.frame_count, crop_px=spec.crop_px)
    return _moved(network, weights)


def _refuse_spread(encoder: str, library: str, weights: Weights) -> None:
    if weights != Weights(weights.device, dtype=weights.dtype):
        raise UserError(
            f"encoder {encoder!r}: {library} encoders are loaded whole, onto one device; "
            "leave out device_map and quantize"
        )


def _moved(network: Network, weights: Weights) -> Network:
    """On its device and in its precision, which is float32 by default, as it is of these libraries."""
    precise = weights.dtype in ("auto", "saved")
    network.model.to(weights.device, torch.float32 if precise else getattr(torch, weights.dtype))
    return network
