"""What an encoder reads, from its configuration: before its weights are loaded, or even downloaded."""

from typing import Any

from transformers import MODEL_MAPPING, AutoConfig

from toolkit.backbones.pretrained import quiet_loading
from toolkit.backbones.resolve import OPEN_CLIP, resolve, unreachable
from toolkit.backbones.zoo.name import parse_zoo_name
from toolkit.errors import UserError
from toolkit.towers import Modality

_SOURCES = {"text": "title and other texts", "image": "cover and frames"}


# By model_type, the key of the number of frames, where no weight depends on it: their positions are computed.
_FREE_FRAMES = {"videomae": "num_frames", "vjepa2": "frames_per_clip"}


def frames_needed(
    encoder: str,
    *,
    revision: str | None = None,
    trust_remote_code: bool = False,
    frame_count: int | None = None,
) -> int | None:
    """How many frames a video encoder reads of a clip; None for an encoder of another kind.

    Args:
        encoder: see `EncoderSpec`, as all settings.
        revision: hub revision to pin.
        trust_remote_code: runs code from the hub.
        frame_count: as asked for; None for the encoder's own.

    Raises:
        UserError: if its configuration cannot be had, or it cannot read that many frames.
    """
    if (zoo := parse_zoo_name(encoder)) is not None:
        from toolkit.backbones.zoo.loading import clip_size, find_network  # here: it imports torch

        return clip_size(zoo, find_network(zoo), frame_count, None)[0]
    if encoder.startswith(OPEN_CLIP):
        refuse_clip_settings(encoder, frame_count=frame_count)
        return None
    config = read_config(encoder, revision=revision, trust_remote_code=trust_remote_code)
    chosen = choose_frames(encoder, config, frame_count)
    for key, value in chosen.items():
        setattr(config, key, value)
    frames = frames_of(config)
    if frames is None:
        refuse_clip_settings(encoder, frame_count=frame_count)
    else:
        refuse_ignored_frames(encoder, config, frames)
    return frames


def choose_frames(name: str, config: Any, frame_count: int | None) -> dict[str, int]:
    """What of a video encoder's configuration is to change for another number of frames.

    Args:
        name: the encoder's.
        config: its configuration.
        frame_count: as asked for; None for the configuration's own.

    Raises:
        UserError: if its weights are of another number of frames.
    """
    frames = frames_of(config)
    if frame_count is None or frames in (None, frame_count):
        return {}
    if config.model_type not in _FREE_FRAMES:
        raise UserError(
            f"encoder {name!r} ({config.model_type}): frame_count is {frame_count}, and its positions are learned for "
            f"{frames} frames; leave out frame_count, or choose {' or '.join(_FREE_FRAMES)}"
        )
    return {_FREE_FRAMES[config.model_type]: frame_count}


def refuse_clip_settings(
    name: str, *, frame_count: int | None = None, crop_px: int | None = None
) -> None:
    """Refuses settings of clips for an encoder that does not take them.

    Raises:
        UserError: if one is set.
    """
    if frame_count is not None:
        raise UserError(
            f"encoder {name!r} reads no clips, and frame_count is {frame_count}; leave it out"
        )
    if crop_px is not None:
        raise UserError(
            f"encoder {name!r}: crop_px is {crop_px}, and the configuration of its processor decides the size; leave it out"
        )


def refuse_ignored_frames(name: str, config: Any, frames: int) -> None:
    """Refuses a number of frames of which an encoder would ignore the last: it reads tubes of several frames.

    Raises:
        UserError: naming the numbers that it reads completely.
    """
    config = getattr(config, "vision_config", config)
    tube = getattr(config, "tubelet_size", None) or 1
    tube = tube if isinstance(tube, int) else tube[0]
    if frames % tube:
        below = frames - frames % tube
        raise UserError(
            f"encoder {name!r} ({config.model_type}) reads tubes of {tube} frames, so of {frames} frames it would ignore "
            f"the last; set frame_count to {f'{below} or ' if below else ''}{below + tube}"
        )


def read_config(name: str, **options: Any) -> Any:
    """An encoder's configuration.

    Args:
        name: as the user gives it (`resolve`).
        options: of `from_pretrained`: revision, trust_remote_code.

    Raises:
        UserError: if it cannot be had.
    """
    try:
        with quiet_loading():
            return AutoConfig.from_pretrained(resolve(name), **options)
    except (OSError, ValueError) as error:
        raise unreachable(name, error) from error


def frames_of(config: Any) -> int | None:
    """How many frames the (vision side of the) model reads at a time; None if it is no video encoder."""
    config = getattr(config, "vision_config", config)
    frames = getattr(config, "num_frames", None) or getattr(config, "frames_per_clip", None)
    return frames if isinstance(frames, int) else None


def refuse_other(name: str, config: Any, modality: Modality) -> None:
    """Refuses an encoder that reads something else.

    A model that this transformers does not know (remote code) passes.

    Args:
        name: the encoder's.
        config: its configuration.
        modality: what it is to read.

    Raises:
        UserError: saying what it reads.
    """
    read = _modalities(config)
    if read and modality not in read:
        other = read[0]
        raise UserError(
            f"encoder {name!r} ({config.model_type}) reads {other}s, and this tower's source is "
            f"{'a text' if modality == 'text' else 'pictures'}; give it a source that it reads "
            f"({_SOURCES[other]}), or the tower an encoder of {modality}s"
        )


def _modalities(config: Any) -> list[Modality]:
    """What a model of that configuration has a side for."""
    sides: list[Modality] = []
    if hasattr(config, "text_config"):
        sides.append("text")
    if hasattr(config, "vision_config"):
        sides.append("image")
    if sides or type(config) not in MODEL_MAPPING:
        return sides
    model = MODEL_MAPPING[type(config)]
    model = model[0] if isinstance(model, tuple) else model
    first = model.main_input_name
    if first.startswith("pixel_values"):
        return ["image"]
    return ["text"] if first == "input_ids" else []
