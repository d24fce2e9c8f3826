"""Frozen encoders that give all their hidden states.

B items, S tokens, L layers, K kept states (the embedding output and the chosen layers), D width.
"""

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import cv2
import numpy as np
import torch
from torch import Tensor
from transformers import AutoConfig, AutoImageProcessor, AutoModel, AutoTokenizer
from transformers.utils import logging as transformers_logging

from toolkit.backbones.pooling import POOLINGS, Pooling
from toolkit.backbones.resolve import resolve, revision_of, unreachable
from toolkit.errors import UserError
from toolkit.towers import Modality, select_layers

__all__ = ["Backbone", "decode_jpeg", "load_backbone"]


class Prepare(Protocol):
    """Turns raw items into the tensors that a model's forward takes."""

    def __call__(self, items: Sequence[Any]) -> dict[str, Tensor]:
        """`items` (strings, or RGB arrays) to keyword arguments."""
        ...


@dataclass(frozen=True)
class Backbone:
    """A frozen encoder with a choice of layers and pooling.

    Args:
        encoder: the name it was asked for under.
        revision: hub commit, or fingerprint of a local folder.
        modality: `text` or `image`.
        model: the encoder, in evaluation mode, without gradients.
        prepare: tokenizer or image processor.
        kept: indices into the model's hidden states: 0 (the embedding output), then layer + 1.
        pooling: how tokens become one vector.
        width: D.
    """

    encoder: str
    revision: str
    modality: Modality
    model: torch.nn.Module = field(repr=False)
    prepare: Prepare = field(repr=False)
    kept: tuple[int, ...]
    pooling: Pooling
    width: int

    @property
    def layers(self) -> int:
        """K, how many states are kept an item."""
        return len(self.kept)

    @property
    def device(self) -> torch.device:
        """Where the encoder computes."""
        return next(self.model.parameters()).device

    def metadata(self, *, source: str) -> dict[str, str]:
        """What identifies the states that this backbone makes of `source`."""
        return {
            "encoder": self.encoder,
            "revision": self.revision,
            "layers": str(self.layers),
            "width": str(self.width),
            "pooling": self.pooling,
            "source": source,
            "modality": self.modality,
            "kept": ",".join(map(str, self.kept)),
        }

    @torch.no_grad()
    def encode(self, items: Sequence[Any]) -> Tensor:
        """Kept hidden states of `items`, (B, K, D), in the model's precision and on its device.

        Args:
            items: strings for a text encoder; JPEG bytes for an image encoder.
        """
        inputs = {name: value.to(self.device) for name, value in self.prepare(items).items()}
        hidden = self.model(**inputs, output_hidden_states=True).hidden_states
        pool = POOLINGS[self.pooling]
        mask = inputs.get("attention_mask")
        if mask is None:  # an image has no padding
            mask = torch.ones(hidden[0].shape[:2], dtype=torch.long, device=self.device)
        return torch.stack([pool(hidden[index], mask) for index in self.kept], dim=1)


def load_backbone(
    encoder: str,
    *,
    modality: Modality,
    layers: str | Sequence[int] = "all",
    pooling: Pooling = "cls",
    revision: str | None = None,
    max_tokens: int = 30,
    lowercase: bool = True,
    device: str | torch.device = "cpu",
    trust_remote_code: bool = False,
) -> Backbone:
    """Loads a frozen encoder through transformers' Auto classes, from safetensors only.

    Args:
        encoder: folder, `package:NAME/SUBFOLDER`, or hub name (`toolkit.backbones.resolve`).
        modality: `text` or `image`.
        layers: which layers to keep (`toolkit.towers.select_layers`).
        pooling: `cls`, `mean` (over real tokens) or `last`.
        revision: hub revision to pin.
        max_tokens: texts are cut there (the papers: 30).
        lowercase: whether texts are lower-cased first (the papers: yes).
        device: where to compute.
        trust_remote_code: runs code from the hub; off unless the user asks.

    Raises:
        UserError: if the encoder cannot be found, or lacks what is asked of it.
    """
    where = resolve(encoder)
    options = {"revision": revision, "trust_remote_code": trust_remote_code}
    try:
        with _quiet_loading():
            config = AutoConfig.from_pretrained(where, **options)
            processor: Any
            if modality == "text":
                processor = AutoTokenizer.from_pretrained(where, **options)
            else:
                processor = AutoImageProcessor.from_pretrained(where, **options)
            model = AutoModel.from_pretrained(
                where, use_safetensors=True, dtype="float32", **options
            )
    except (OSError, ValueError) as error:
        raise unreachable(encoder, error) from error
    if modality == "text" and processor.pad_token is None:
        processor.pad_token = processor.eos_token
    prepare = _text(processor, max_tokens, lowercase) if modality == "text" else _image(processor)
    model = (model.vision_model if hasattr(model, "vision_model") else model).to(device).eval()
    chosen = select_layers(layers, _depth(encoder, model))
    return Backbone(
        encoder=encoder,
        revision=revision_of(encoder, getattr(config, "_commit_hash", None)),
        modality=modality,
        model=model.requires_grad_(False),
        prepare=prepare,
        kept=(0, *(layer + 1 for layer in chosen)),
        pooling=pooling,
        width=model.config.hidden_size,
    )


def decode_jpeg(data: bytes) -> np.ndarray:
    """JPEG bytes to an RGB array, (height, width, 3) uint8.

    Raises:
        ValueError: if the bytes are no image.
    """
    image = cv2.imdecode(np.frombuffer(data, dtype=np.uint8), cv2.IMREAD_COLOR) if data else None
    if image is None:
        raise ValueError(f"{len(data)} bytes that are no readable image")
    return cv2.cvtColor(image, cv2.COLOR_BGR2RGB)


def _text(tokenizer: Any, max_tokens: int, lowercase: bool) -> Prepare:
    def prepare(items: Sequence[str]) -> dict[str, Tensor]:
        texts = [text.lower() for text in items] if lowercase else list(items)
        return dict(
            tokenizer(
                texts, padding=True, truncation=True, max_length=max_tokens, return_tensors="pt"
            )
        )

    return prepare


def _image(processor: Any) -> Prepare:
    def prepare(items: Sequence[bytes]) -> dict[str, Tensor]:
        images = [decode_jpeg(item) for item in items]
        return dict(processor(images=images, return_tensors="pt"))

    return prepare


def _depth(encoder: str, model: Any) -> int:
    """Number of layers; hierarchical encoders, whose stages differ in width, are refused."""
    depth = getattr(model.config, "num_hidden_layers", None)
    if not isinstance(depth, int) or not isinstance(
        getattr(model.config, "hidden_size", None), int
    ):
        raise UserError(
            f"encoder {encoder!r} ({type(model).__name__}) has no single depth and width; "
            "encoders whose layers all have one width are supported so far"
        )
    return depth


@contextlib.contextmanager
def _quiet_loading() -> Iterator[None]:
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
