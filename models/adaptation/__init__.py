"""What of an encoder trains, and what is added to it. `ADAPTATIONS` holds the methods' declarations by name."""

from collections.abc import Mapping
from typing import Any

from torch import nn

from models.adaptation.adapt import (
    Adapted,
    MethodSetting,
    apply_adaptation,
    find_adaptation,
    follow_weights,
    merge_adaptation,
    settings_of,
)
from models.adaptation.bottlenecks import HOULSBY, PARALLEL, PFEIFFER
from models.adaptation.compacter import COMPACTER
from models.adaptation.gradients import check_gradients, expect_zero
from models.adaptation.k_adapter import K_ADAPTER
from models.adaptation.kind import AdaptationKind, Target
from models.adaptation.low_rank import DORA, IA3, LORA
from models.adaptation.prompts import PREFIX, PROMPT
from models.adaptation.tuning import BITFIT, FROZEN, FULL, LAYERNORM, TOP

ADAPTATIONS: dict[str, AdaptationKind] = {
    "frozen": FROZEN,
    "full": FULL,
    "top-K": TOP,
    "bitfit": BITFIT,
    "layernorm": LAYERNORM,
    "lora": LORA,
    "dora": DORA,
    "ia3": IA3,
    "houlsby": HOULSBY,
    "parallel": PARALLEL,
    "pfeiffer": PFEIFFER,
    "compacter": COMPACTER,
    "k-adapter": K_ADAPTER,
    "prompt": PROMPT,
    "prefix": PREFIX,
}


def adapt(encoder: nn.Module, method: str, settings: Any = None, *, prefix: str = "") -> Adapted:
    """Applies an adaptation method to an encoder, in place.

    Afterwards `requires_grad` is true of exactly what trains, each trainable parameter lies in a learning-rate group
    that the method declares (`models.parameters`), parts without trainable parameters stay in evaluation mode
    whatever `train()` is called with, and the outputs are what they were (not K-Adapter's). `encoder.adapted` is what
    is returned.

    Args:
        encoder: an `Encoder` of `toolkit.backbones`, or a sequence encoder. Not adapted before.
        method: a key of `ADAPTATIONS`; `top-2` and the like for `top-K`.
        settings: an instance of the method's settings; None for their defaults.
        prefix: of the names of the learning-rate groups: with `text`, `text_encoder`, `text_adapter`, `text_norm`.

    Raises:
        UserError: if the method is unknown, the encoder cannot take it, or it is adapted already.
    """
    return apply_adaptation(encoder, method, settings, prefix=prefix, kinds=ADAPTATIONS)


def merge(encoder: nn.Module, method: str) -> None:
    """Puts what a method added into the encoder's weights, in place: its model is then as its library builds it.

    The outputs stay what they were, up to rounding.

    Args:
        encoder: that was adapted.
        method: with which.

    Raises:
        UserError: if the weights cannot hold what it added.
    """
    merge_adaptation(encoder, method, kinds=ADAPTATIONS)


def follow(encoder: nn.Module, method: str) -> None:
    """Computes again what a method added from the encoder's own weights, in place, after these were replaced.

    Args:
        encoder: that was adapted, and not trained since.
        method: with which.
    """
    follow_weights(encoder, method, kinds=ADAPTATIONS)


def method_settings(method: str, chosen: Mapping[str, MethodSetting] | None = None) -> Any:
    """The settings of a method.

    Args:
        method: such as `lora` or `top-2`.
        chosen: those that are not its defaults.

    Raises:
        UserError: if the method is not registered, or has no such setting.
    """
    return settings_of(method, chosen, kinds=ADAPTATIONS)


__all__ = [
    "ADAPTATIONS",
    "AdaptationKind",
    "Adapted",
    "MethodSetting",
    "Target",
    "adapt",
    "check_gradients",
    "expect_zero",
    "find_adaptation",
    "follow",
    "merge",
    "method_settings",
]
