"""Encoders of every library: one description, one loader, modules that train and a frozen way to run them."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from toolkit.backbones.spec import EncoderSpec

if TYPE_CHECKING:
    from toolkit.backbones.encoder import Encoder, Inputs
    from toolkit.backbones.frozen import FrozenEncoder
    from toolkit.backbones.frozen import FrozenEncoder as Backbone
    from toolkit.backbones.kinds import frames_needed
    from toolkit.backbones.loading import load_backbone, load_encoder
    from toolkit.backbones.network import Hidden, Network, Preparation

__all__ = [
    "Backbone",
    "Encoder",
    "EncoderSpec",
    "FrozenEncoder",
    "Hidden",
    "Inputs",
    "Network",
    "Preparation",
    "frames_needed",
    "load_backbone",
    "load_encoder",
]

# Imported on first use, so that settings, which need `EncoderSpec` alone, do not wait for torch and transformers.
_MODULES = {
    "Encoder": "encoder",
    "FrozenEncoder": "frozen",
    "Hidden": "network",
    "Inputs": "encoder",
    "Network": "network",
    "Preparation": "network",
    "frames_needed": "kinds",
    "load_backbone": "loading",
    "load_encoder": "loading",
}
_FORMER_NAMES = {"Backbone": "FrozenEncoder"}


def __getattr__(name: str) -> Any:
    name = _FORMER_NAMES.get(name, name)
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
