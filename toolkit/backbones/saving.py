"""Writes an encoder as transformers lays it out on disk, so that transformers and prep load it like any other."""

from pathlib import Path
from typing import Any

from torch import nn

from toolkit.backbones.encoder import Encoder
from toolkit.backbones.pretrained import load_pretrained, quiet_loading
from toolkit.backbones.resolve import OPEN_CLIP
from toolkit.backbones.weights import Weights
from toolkit.errors import UserError


def save_encoder(encoder: Encoder, folder: Path) -> None:
    """Writes config.json, model.safetensors and the tokenizer or processor of an encoder whose weights have changed.

    The model is written whole: of one side of a two-sided model (CLIP), the other side is written as it was loaded.

    Args:
        encoder: with the layers that its library built.
        folder: absent or empty.

    Raises:
        UserError: if transformers did not load it, or it is quantised.
    """
    spec = encoder.spec
    if spec.encoder.startswith(OPEN_CLIP):
        raise UserError(
            f"encoder {spec.encoder!r}: open_clip's models are not in a form that transformers opens; train a copy that "
            "transformers loads instead"
        )
    if spec.quantize != "none":
        raise UserError(
            f"encoder {spec.encoder!r}: its weights are quantised to {spec.quantize}; train it with quantize none"
        )
    preparation: Any = encoder.prepare.preparation
    own = getattr(preparation, "tokenizer", None) or preparation.processor
    processor, whole = load_pretrained(
        spec.encoder,
        type(own),
        revision=spec.revision,
        trust_remote_code=spec.trust_remote_code,
        weights=Weights(dtype=spec.dtype),
    )
    _counterpart(whole, encoder.model).load_state_dict(encoder.model.state_dict())
    with quiet_loading():
        whole.save_pretrained(folder)
        processor.save_pretrained(folder)


def _counterpart(whole: nn.Module, model: nn.Module) -> nn.Module:
    """The part of a freshly loaded model that an encoder's model is."""
    names = model.state_dict().keys()
    return next(
        part
        for part in whole.modules()
        if type(part) is type(model) and part.state_dict().keys() == names
    )
