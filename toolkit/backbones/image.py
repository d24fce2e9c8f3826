"""Image encoders through transformers: transformers of one width, and networks of stages that differ in it."""

import io
from collections.abc import Callable, Sequence
from typing import Any

import torch
from PIL import Image
from torch import Tensor, nn
from transformers import AutoImageProcessor

from toolkit.backbones.backbone import Encoder, Hidden
from toolkit.backbones.listening import as_tokens, run_timm
from toolkit.backbones.pretrained import load_pretrained, processor_name
from toolkit.backbones.resolve import commit_of
from toolkit.backbones.weights import Weights
from toolkit.errors import UserError
from toolkit.images import decode_jpeg

Prepare = Callable[[Sequence[Any]], dict[str, Tensor]]
Run = Callable[[dict[str, Tensor]], Hidden]

# What the libraries call the vector that becomes a [CLS] token.
_CLS_NAMES = ("cls_token", "class_embedding", "class_token")


def load(name: str, *, revision: str | None, trust_remote_code: bool, weights: Weights) -> Encoder:
    """Loads an image encoder; see `toolkit.backbones.load_backbone`.

    Raises:
        UserError: if it cannot be found, or gives no hidden states.
    """
    processor, model = load_pretrained(
        name,
        AutoImageProcessor,
        revision=revision,
        trust_remote_code=trust_remote_code,
        weights=weights,
    )
    model = getattr(model, "vision_model", model).requires_grad_(False).eval()
    return of_pictures(
        name,
        model,
        _prepare_with(processor),
        _run_with(model),
        commit_of(name, revision),
        processor=processor_name(processor),
    )


def of_pictures(
    name: str,
    model: nn.Module,
    prepare: Prepare,
    run: Run,
    commit: str | None = None,
    *,
    processor: str,
) -> Encoder:
    """An encoder of pictures; two blank ones tell its depth and widths: configurations differ too much.

    Raises:
        UserError: if it gives no hidden states.
    """
    states = _states_of_blanks(model, prepare, run)
    if not states:
        raise UserError(
            f"encoder {name!r} ({type(model).__name__}) gives no hidden states; take another"
        )
    widths = tuple(state.shape[2] for state in states)
    return Encoder(
        model=model,
        prepare=prepare,
        run=run,
        depth=len(widths) - 1,
        width=max(widths),
        commit=commit,
        processor=processor,
        widths=widths if len(set(widths)) > 1 else None,
        # In some, a [CLS] token comes in late; a token from the start is the same for every picture.
        has_cls=has_cls(model) and torch.allclose(*states[0][:, 0]),
    )


def has_cls(model: nn.Module) -> bool:
    """Whether the first token of a vision transformer is a [CLS] token of its own, not a patch."""
    names = (name.rpartition(".")[2] for name, _ in model.named_parameters())
    return any(name in _CLS_NAMES for name in names)


def _prepare_with(processor: Any) -> Prepare:
    def prepare(items: Sequence[bytes]) -> dict[str, Tensor]:
        return dict(processor(images=[decode_jpeg(item) for item in items], return_tensors="pt"))

    return prepare


def _run_with(model: Any) -> Run:
    if model.config.model_type == "timm_wrapper":  # it would leave out the embedding output
        return run_timm(model.timm_model)

    def run(inputs: dict[str, Tensor]) -> Hidden:
        if model.config.model_type == "vit_mae":
            inputs = inputs | _nothing_masked(model, len(inputs["pixel_values"]))
        states = model(**inputs, output_hidden_states=True).hidden_states or ()
        # SigLIP 2 fills up small pictures with patches that are none.
        return Hidden([as_tokens(state) for state in states], inputs.get("pixel_attention_mask"))

    return run


def _states_of_blanks(model: nn.Module, prepare: Prepare, run: Run) -> Sequence[Tensor]:
    """Of a black picture and a white one, wherever and in which precision the model computes."""
    like = next(x for x in model.parameters() if x.is_floating_point())
    inputs = prepare([_blank_jpeg("black"), _blank_jpeg("white")])
    placed = {
        key: x.to(like if x.is_floating_point() else like.device) for key, x in inputs.items()
    }
    with torch.no_grad():
        return run(placed).states


def _nothing_masked(model: Any, count: int) -> dict[str, Tensor]:
    """MAE masks patches at random, in inference too; so it keeps all of them, in their order."""
    model.config.mask_ratio = 0.0
    patches = model.embeddings.patch_embeddings.num_patches
    return {"noise": torch.arange(patches, device=model.device).float().expand(count, -1)}


def _blank_jpeg(colour: str) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (224, 224), colour).save(file, "JPEG")
    return file.getvalue()
