"""Image encoders through transformers."""

from collections.abc import Callable, Sequence
from typing import Any

from torch import Tensor
from transformers import AutoImageProcessor

from toolkit.backbones.backbone import Encoder
from toolkit.backbones.pretrained import load_pretrained, run_with, shape_of
from toolkit.backbones.resolve import commit_of
from toolkit.backbones.weights import Weights
from toolkit.images import decode_jpeg


def load(name: str, *, revision: str | None, trust_remote_code: bool, weights: Weights) -> Encoder:
    """Loads an image encoder; see `toolkit.backbones.load_backbone`.

    Raises:
        UserError: if it cannot be found, or its layers have no single width.
    """
    processor, model = load_pretrained(
        name,
        AutoImageProcessor,
        revision=revision,
        trust_remote_code=trust_remote_code,
        weights=weights,
    )
    model = model.vision_model if hasattr(model, "vision_model") else model
    depth, width = shape_of(name, model)
    return Encoder(
        model=model.requires_grad_(False).eval(),
        prepare=_prepare_with(processor),
        run=run_with(model),
        depth=depth,
        width=width,
        commit=commit_of(name, revision),
    )


def _prepare_with(processor: Any) -> Callable[[Sequence[bytes]], dict[str, Tensor]]:
    def prepare(items: Sequence[bytes]) -> dict[str, Tensor]:
        return dict(processor(images=[decode_jpeg(item) for item in items], return_tensors="pt"))

    return prepare
