"""VL-FAU: facial action units recognised, and described in words. A reconstruction of arXiv 2408.00644."""

from models.facial.backbone import StageBackbone, load_stage_backbone
from models.facial.losses import AU_LOSSES
from models.facial.network import VLFAU, Described, FaceLosses, FaceOutput
from models.facial.rates import training_rates, weights_of_rates
from models.facial.texts import Texts, TextTargets, vocabulary_of
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
    "Vocabulary",
    "load_stage_backbone",
    "training_rates",
    "vocabulary_of",
    "weights_of_rates",
]
