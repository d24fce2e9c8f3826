"""Encoders through transformers' Auto classes."""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor
from transformers import AutoImageProcessor, AutoModel, AutoTokenizer
from transformers.utils import logging as transformers_logging

from toolkit.backbones.backbone import Encoder, Hidden
from toolkit.backbones.resolve import commit_of, resolve, unreachable
from toolkit.errors import UserError
from toolkit.images import decode_jpeg
from toolkit.towers import Modality


def load(
    name: str,
    *,
    modality: Modality,
    revision: str | None,
    max_tokens: int,
    lowercase: bool,
    trust_remote_code: bool,
) -> Encoder:
    """Loads an encoder from safetensors; see `toolkit.backbones.load_backbone`.

    Raises:
        UserError: if it cannot be found, or its layers have no single width.
    """
    where = resolve(name)
    options = {"revision": revision, "trust_remote_code": trust_remote_code}
    processors = {"text": AutoTokenizer, "image": AutoImageProcessor}
    try:
        with quiet_loading():
            processor = processors[modality].from_pretrained(where, **options)
            model = AutoModel.from_pretrained(
                where, use_safetensors=True, dtype="float32", **options
            )
    except (OSError, ValueError) as error:
        raise unreachable(name, error) from error
    if modality == "text" and processor.pad_token is None:
        processor.pad_token = processor.eos_token
    model = model.vision_model if hasattr(model, "vision_model") else model
    depth, width = _shape(name, model)
    return Encoder(
        model=model.requires_grad_(False).eval(),
        prepare=_texts(processor, max_tokens, lowercase)
        if modality == "text"
        else _images(processor),
        run=_run(model),
        depth=depth,
        width=width,
        commit=commit_of(name, revision),
    )


def _texts(
    tokenizer: Any, max_tokens: int, lowercase: bool
) -> Callable[[Sequence[str]], dict[str, Tensor]]:
    def prepare(items: Sequence[str]) -> dict[str, Tensor]:
        texts = [text.lower() for text in items] if lowercase else list(items)
        return dict(
            tokenizer(
                texts, padding=True, truncation=True, max_length=max_tokens, return_tensors="pt"
            )
        )

    return prepare


def _images(processor: Any) -> Callable[[Sequence[bytes]], dict[str, Tensor]]:
    def prepare(items: Sequence[bytes]) -> dict[str, Tensor]:
        images = [decode_jpeg(item) for item in items]
        return dict(processor(images=images, return_tensors="pt"))

    return prepare


def _run(model: Any) -> Callable[[dict[str, Tensor]], Hidden]:
    def run(inputs: dict[str, Tensor]) -> Hidden:
        states = model(**inputs, output_hidden_states=True).hidden_states
        mask = inputs.get("attention_mask")
        if mask is None:  # an image has no padding
            mask = torch.ones(states[0].shape[:2], dtype=torch.long, device=states[0].device)
        return Hidden(states, mask)

    return run


def _shape(name: str, model: Any) -> tuple[int, int]:
    """Depth and width; hierarchical encoders, whose stages differ in width, are refused."""
    depth = getattr(model.config, "num_hidden_layers", None)
    width = getattr(model.config, "hidden_size", None)
    if not isinstance(depth, int) or not isinstance(width, int):
        raise UserError(
            f"encoder {name!r} ({type(model).__name__}) has no single depth and width; "
            "encoders whose layers all have one width are supported so far"
        )
    return depth, width


@contextlib.contextmanager
def quiet_loading() -> Iterator[None]:
    """No loading bars and reports from transformers for the seconds that a load takes."""
    level = transformers_logging.get_verbosity()
    bars = transformers_logging.is_progress_bar_enabled()
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    try:
        yield
    finally:
        transformers_logging.set_verbosity(level)
        if bars:
            transformers_logging.enable_progress_bar()
