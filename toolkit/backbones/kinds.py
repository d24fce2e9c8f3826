"""What an encoder reads, from its configuration: before its weights are loaded, or even downloaded."""

from typing import Any

from transformers import MODEL_MAPPING, AutoConfig

from toolkit.backbones.pretrained import quiet_loading
from toolkit.backbones.resolve import OPEN_CLIP, resolve, unreachable
from toolkit.errors import UserError
from toolkit.towers import Modality

_SOURCES = {"text": "title and other texts", "image": "cover and frames"}


def frames_needed(
    encoder: str, *, revision: str | None = None, trust_remote_code: bool = False
) -> int | None:
    """How many frames a video encoder reads of a clip; None for an encoder of another kind.

    Raises:
        UserError: if its configuration cannot be had.
    """
    if encoder.startswith(OPEN_CLIP):
        return None
    config = read_config(encoder, revision=revision, trust_remote_code=trust_remote_code)
    return frames_of(config)


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
