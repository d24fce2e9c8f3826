"""VL-FAU: facial action units recognised, and described in words. A reconstruction of arXiv 2408.00644."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from models.facial.backbone import StageBackbone, load_stage_backbone
    from models.facial.inference import predict
    from models.facial.losses import AU_LOSSES
    from models.facial.network import VLFAU, Described, FaceLosses, FaceOutput
    from models.facial.pretrained import from_pretrained
    from models.facial.rates import training_rates, weights_of_rates
    from models.facial.texts import Texts, TextTargets, vocabulary_of
    from models.facial.trained import TrainedFaces
    from models.facial.vocabulary import Vocabulary

__all__ = [
    "AU_LOSSES",
    "VLFAU",
    "Described",
    "FaceLosses",
    "FaceOutput",
    "StageBackbone",
    "TextTargets",
    "Texts",
    "TrainedFaces",
    "Vocabulary",
    "from_pretrained",
    "load_stage_backbone",
    "predict",
    "training_rates",
    "vocabulary_of",
    "weights_of_rates",
]

# Fetched when first used, so that tables and frames do not wait for torch. No name here may be that of a module of this
# package, which importing it would put in the name's place.
_MODULES = {
    "AU_LOSSES": "losses",
    "Described": "network",
    "FaceLosses": "network",
    "FaceOutput": "network",
    "StageBackbone": "backbone",
    "TextTargets": "texts",
    "Texts": "texts",
    "TrainedFaces": "trained",
    "VLFAU": "network",
    "Vocabulary": "vocabulary",
    "from_pretrained": "pretrained",
    "load_stage_backbone": "backbone",
    "predict": "inference",
    "training_rates": "rates",
    "vocabulary_of": "texts",
    "weights_of_rates": "rates",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"models.facial.{_MODULES[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
