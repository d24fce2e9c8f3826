"""Image encoders through transformers: vision transformers, and networks of stages of different widths."""

import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from transformers import AutoImageProcessor

from toolkit.backbones.listening import as_tokens, run_timm
from toolkit.backbones.network import Hidden, Network, Preparation, Run
from toolkit.backbones.pretrained import load_pretrained, probing, processor_name, side_of
from toolkit.backbones.resolve import commit_of
from toolkit.backbones.weights import Weights
from toolkit.errors import UserError
from toolkit.images import decode_jpeg

# What the libraries call the vector that becomes a [CLS] token.
_CLS_NAMES = ("cls_token", "class_embedding", "class_token")


@dataclass(frozen=True)
class ImagePreparation:
    """Decodes JPEGs, and resizes and normalises their pixels as the encoder's processor does.

    Args:
        processor: an image processor of transformers.
    """

    processor: Any

    def read(self, payloads: Sequence[bytes]) -> list[np.ndarray]:
        """RGB pixels of each JPEG, (height, width, 3) uint8.

        Raises:
            ValueError: if one cannot be decoded.
        """
        return [decode_jpeg(image) for image in payloads]

    def lengths(self, read: Sequence[np.ndarray]) -> None:
        """Images are resized to one size."""
        return None

    def collate(self, read: Sequence[np.ndarray]) -> dict[str, Tensor]:
        """Pixel values (B, 3, height, width), and what else the encoder reads."""
        return dict(self.processor(images=list(read), return_tensors="pt"))


def load(name: str, *, revision: str | None, trust_remote_code: bool, weights: Weights) -> Network:
    """Loads an image encoder; see `toolkit.backbones.load_encoder`.

    Raises:
        UserError: if it cannot be found, or returns no hidden states.
    """
    processor, model = load_pretrained(
        name,
        AutoImageProcessor,
        revision=revision,
        trust_remote_code=trust_remote_code,
        weights=weights,
    )
    model = side_of(name, model, "vision_model")
    wraps_timm = (
        model.config.model_type == "timm_wrapper"
    )  # it would leave out the embedding output
    return image_network(
        name,
        model,
        ImagePreparation(processor),
        _run_wrapped_timm if wraps_timm else _run,
        commit=commit_of(name, revision),
        processor=processor_name(processor),
    )


def image_network(
    name: str,
    model: nn.Module,
    preparation: Preparation,
    run: Run,
    *,
    commit: str | None,
    processor: str,
) -> Network:
    """An image encoder. Two blank images show its depth and widths, which configurations name too differently.

    Raises:
        UserError: if it returns no hidden states.
    """
    states = _states_of_blanks(model, preparation, run)
    if not states:
        raise UserError(
            f"encoder {name!r} ({type(model).__name__}) gives no hidden states; take another"
        )
    widths = tuple(state.shape[2] for state in states)
    return Network(
        model=model,
        preparation=preparation,
        run=run,
        depth=len(widths) - 1,
        width=max(widths),
        commit=commit,
        processor=processor,
        widths=widths if len(set(widths)) > 1 else None,
        # Some insert their [CLS] token late; one that is there from the start is the same for every image.
        has_cls=has_cls(model) and torch.allclose(*states[0][:, 0]),
    )


def has_cls(model: nn.Module) -> bool:
    """Whether the first token of a vision transformer is a [CLS] token of its own, not a patch."""
    names = (name.rpartition(".")[2] for name, _ in model.named_parameters())
    return any(name in _CLS_NAMES for name in names)


def _run(model: Any, inputs: dict[str, Tensor]) -> Hidden:
    if model.config.model_type == "vit_mae":
        inputs = inputs | _nothing_masked(model, len(inputs["pixel_values"]))
    states = model(**inputs, output_hidden_states=True).hidden_states or ()
    # SigLIP 2 pads small images with patches that are masked.
    return Hidden([as_tokens(state) for state in states], inputs.get("pixel_attention_mask"))


def _run_wrapped_timm(model: Any, inputs: dict[str, Tensor]) -> Hidden:
    return run_timm(model.timm_model, inputs)


def _states_of_blanks(model: nn.Module, preparation: Preparation, run: Run) -> Sequence[Tensor]:
    """Of a black image and a white one, on the device and in the precision of the model."""
    like = next(x for x in model.parameters() if x.is_floating_point())
    inputs = preparation.collate(preparation.read([_blank_jpeg("black"), _blank_jpeg("white")]))
    placed = {
        key: x.to(like if x.is_floating_point() else like.device) for key, x in inputs.items()
    }
    with probing(model):
        return run(model, placed).states


def _nothing_masked(model: Any, count: int) -> dict[str, Tensor]:
    """MAE masks patches at random, in inference too; this keeps all of them, in their order."""
    model.config.mask_ratio = 0.0
    patches = model.embeddings.patch_embeddings.num_patches
    return {"noise": torch.arange(patches, device=model.device).float().expand(count, -1)}


def _blank_jpeg(colour: str) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (224, 224), colour).save(file, "JPEG")
    return file.getvalue()
