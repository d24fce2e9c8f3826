"""Video encoders through transformers: each reads a fixed number of frames of a clip at once.

B clips, T frames, S tokens, D width.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from torch import Tensor
from transformers import AutoImageProcessor, AutoVideoProcessor

from toolkit.backbones.image import has_cls
from toolkit.backbones.kinds import choose_frames, refuse_ignored_frames
from toolkit.backbones.network import Hidden, Network
from toolkit.backbones.pretrained import load_pretrained, processor_name, shape_of
from toolkit.backbones.resolve import commit_of
from toolkit.backbones.weights import Weights
from toolkit.images import decode_jpeg


def load(
    name: str,
    config: Any,
    frames: int,
    *,
    frame_count: int | None = None,
    revision: str | None,
    trust_remote_code: bool,
    weights: Weights,
) -> Network:
    """Loads a video encoder; see `toolkit.backbones.load_encoder`.

    Args:
        name: the encoder's.
        config: its configuration.
        frames: how many it reads of a clip, by its configuration.
        frame_count: how many it is to read instead.
        revision: hub revision to pin.
        trust_remote_code: runs code from the hub.
        weights: where they go, and in which precision.

    Raises:
        UserError: if it cannot be found, or cannot read that many frames.
    """
    changes = choose_frames(name, config, frame_count)
    frames = next(iter(changes.values()), frames)
    refuse_ignored_frames(name, config, frames)
    in_two_towers = hasattr(config, "vision_config")
    processor, model = load_pretrained(
        name,
        AutoImageProcessor if in_two_towers else AutoVideoProcessor,
        revision=revision,
        trust_remote_code=trust_remote_code,
        weights=weights,
        changes=changes,
    )
    model = getattr(model, "vision_model", model)
    depth, width = shape_of(name, model)
    kind = FramesPreparation if in_two_towers else ClipPreparation
    return Network(
        model=model,
        preparation=kind(processor, frames),
        run=partial(_run_frames, frames=frames) if in_two_towers else _run_clips,
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


@dataclass(frozen=True)
class ClipPreparation:
    """Decodes clips and takes the frames that the encoder reads, for encoders of whole clips.

    Args:
        processor: a video processor of transformers.
        frames: how many the encoder reads of a clip.
    """

    processor: Any
    frames: int

    def read(self, payloads: Sequence[list[bytes]]) -> list[list[np.ndarray]]:
        """RGB pixels of T frames of each clip. Every stored frame is decoded, so that a broken one is noticed.

        Raises:
            ValueError: if one cannot be decoded.
        """
        return [spread([decode_jpeg(frame) for frame in clip], self.frames) for clip in payloads]

    def lengths(self, read: Sequence[list[np.ndarray]]) -> None:
        """Clips have one size."""
        return None

    def collate(self, read: Sequence[list[np.ndarray]]) -> dict[str, Tensor]:
        """Pixel values of whole clips."""
        clips = [np.stack(clip) for clip in read]
        return dict(self.processor(videos=clips, do_sample_frames=False, return_tensors="pt"))


@dataclass(frozen=True)
class FramesPreparation(ClipPreparation):
    """The same for encoders that read the frames of a clip as images of a batch (X-CLIP).

    Args:
        processor: an image processor of transformers.
        frames: how many the encoder reads of a clip.
    """

    def collate(self, read: Sequence[list[np.ndarray]]) -> dict[str, Tensor]:
        """Pixel values (B * T, 3, height, width)."""
        pixels = self.processor(images=list(read), return_tensors="pt")["pixel_values"]
        return {"pixel_values": pixels.reshape(-1, *pixels.shape[-3:])}


def _run_clips(model: Any, inputs: dict[str, Tensor]) -> Hidden:
    """VideoMAE, TimeSformer, ViViT, V-JEPA 2: tokens of a whole clip."""
    # V-JEPA 2 would also predict masked tokens, and none are masked.
    options = {"skip_predictor": True} if model.config.model_type == "vjepa2" else {}
    return Hidden(model(**inputs, **options, output_hidden_states=True).hidden_states, None)


def _run_frames(model: Any, inputs: dict[str, Tensor], *, frames: int) -> Hidden:
    """X-CLIP: its layers have tokens of each frame, which exchange messages; here they are averaged over T."""
    states = model(**inputs, output_hidden_states=True).hidden_states
    return Hidden([state.unflatten(0, (-1, frames)).mean(dim=1) for state in states], None)
