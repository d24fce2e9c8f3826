"""Video encoders through transformers: each reads a fixed number of frames of a clip at once.

B clips, T frames, S tokens, D width.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from torch import Tensor
from transformers import AutoImageProcessor, AutoVideoProcessor

from toolkit.backbones.backbone import Encoder, Hidden
from toolkit.backbones.image import Prepare, Run, has_cls
from toolkit.backbones.pretrained import load_pretrained, processor_name, shape_of
from toolkit.backbones.resolve import commit_of
from toolkit.backbones.weights import Weights
from toolkit.images import decode_jpeg


def load(
    name: str,
    config: Any,
    frames: int,
    *,
    revision: str | None,
    trust_remote_code: bool,
    weights: Weights,
) -> Encoder:
    """Loads a video encoder; see `toolkit.backbones.load_backbone`.

    Args:
        name: the encoder's.
        config: its configuration.
        frames: how many it reads of a clip.
        revision: hub revision to pin.
        trust_remote_code: runs code from the hub.
        weights: where they go, and in which precision.

    Raises:
        UserError: if it cannot be found.
    """
    in_two_towers = hasattr(config, "vision_config")
    processor, model = load_pretrained(
        name,
        AutoImageProcessor if in_two_towers else AutoVideoProcessor,
        revision=revision,
        trust_remote_code=trust_remote_code,
        weights=weights,
    )
    model = getattr(model, "vision_model", model).requires_grad_(False).eval()
    depth, width = shape_of(name, model)
    prepare, run = (_frames_alone if in_two_towers else _clips_whole)(processor, model, frames)
    return Encoder(
        model=model,
        prepare=prepare,
        run=run,
        depth=depth,
        width=width,
        commit=commit_of(name, revision),
        frames=frames,
        has_cls=has_cls(model),
        processor=processor_name(processor),
    )


def spread(clip: Sequence[Any], count: int) -> list[Any]:
    """`count` members of a clip of at least as many, at the middles of equal parts of it.

    >>> spread("abcdefgh", 4)
    ['b', 'd', 'f', 'h']
    """
    return [clip[(2 * i + 1) * len(clip) // (2 * count)] for i in range(count)]


def _clips_whole(processor: Any, model: Any, frames: int) -> tuple[Prepare, Run]:
    """VideoMAE, TimeSformer, ViViT, V-JEPA 2: tokens of a whole clip."""
    # V-JEPA 2 would go on to predict what nobody has masked.
    more = {"skip_predictor": True} if model.config.model_type == "vjepa2" else {}

    def prepare(items: Sequence[list[bytes]]) -> dict[str, Tensor]:
        clips = [np.stack(clip) for clip in _decoded(items, frames)]
        return dict(processor(videos=clips, do_sample_frames=False, return_tensors="pt"))

    def run(inputs: dict[str, Tensor]) -> Hidden:
        return Hidden(model(**inputs, **more, output_hidden_states=True).hidden_states, None)

    return prepare, run


def _frames_alone(processor: Any, model: Any, frames: int) -> tuple[Prepare, Run]:
    """X-CLIP: its layers have tokens of each frame, which exchange messages; here they are averaged over T."""

    def prepare(items: Sequence[list[bytes]]) -> dict[str, Tensor]:
        pixels = processor(images=_decoded(items, frames), return_tensors="pt")["pixel_values"]
        return {"pixel_values": pixels.reshape(-1, *pixels.shape[-3:])}  # (B * T, 3, H, W)

    def run(inputs: dict[str, Tensor]) -> Hidden:
        states = model(**inputs, output_hidden_states=True).hidden_states
        return Hidden([state.unflatten(0, (-1, frames)).mean(dim=1) for state in states], None)

    return prepare, run


def _decoded(items: Sequence[list[bytes]], frames: int) -> list[list[np.ndarray]]:
    return [[decode_jpeg(frame) for frame in spread(clip, frames)] for clip in items]
