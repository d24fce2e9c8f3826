"""Writes an encoder as its library lays it out on disk, so that the library and prep load it like any other."""

from pathlib import Path
from typing import Any

from safetensors.torch import save_file
from torch import nn

from toolkit.backbones.encoder import Encoder
from toolkit.backbones.pretrained import load_pretrained, quiet_loading
from toolkit.backbones.resolve import OPEN_CLIP
from toolkit.backbones.weights import Weights
from toolkit.backbones.zoo.name import parse_zoo_name
from toolkit.errors import UserError

_WEIGHTS = "model.safetensors"


def save_encoder(encoder: Encoder, folder: Path) -> None:
    """Writes config.json, model.safetensors and the tokenizer or processor of an encoder whose weights have changed.

    The model is written whole: of one side of a two-sided model (CLIP), the other side is written as it was loaded. Of a
    video network of torchvision or pytorchvideo the weights alone are written, under their published names.

    Args:
        encoder: with the layers that its library built.
        folder: absent or empty.

    Raises:
        UserError: if open_clip loaded it, or it is quantised.
    """
    spec = encoder.spec
    if parse_zoo_name(spec.encoder) is not None:
        folder.mkdir(parents=True, exist_ok=True)
        tensors = {name: x.contiguous() for name, x in encoder.model.state_dict().items()}
        save_file(tensors, folder / _WEIGHTS)
        return
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
