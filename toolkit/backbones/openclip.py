"""Either side of a model of open_clip: `open_clip:FOLDER` or `open_clip:OWNER/NAME` on the hub.

A folder holds `open_clip_config.json` and the weights as safetensors, as open_clip's own hub
repositories do, and the files of the tokenizer where it is not open_clip's own.

B items, S tokens, D width.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import torch
from open_clip.hf_model import HFTextEncoder
from open_clip.modified_resnet import ModifiedResNet
from open_clip.timm_model import TimmModel
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from toolkit.backbones.image import image_network
from toolkit.backbones.listening import as_tokens, listen, run_timm
from toolkit.backbones.network import Hidden, Network, Run
from toolkit.backbones.pretrained import processor_name
from toolkit.backbones.pretrained import run as run_transformers
from toolkit.backbones.resolve import commit_of, resolve, unreachable
from toolkit.backbones.text import TOKENIZING
from toolkit.errors import UserError
from toolkit.images import decode_jpeg


@dataclass(frozen=True)
class ImagePreparation:
    """Decodes JPEGs, and resizes and normalises their pixels as open_clip does.

    Args:
        transform: open_clip's, from a PIL image to a tensor (3, height, width).
    """

    transform: Any

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
        """Pixel values (B, 3, height, width)."""
        images = [self.transform(Image.fromarray(pixels)) for pixels in read]
        return {"pixel_values": torch.stack(images)}


@dataclass(frozen=True)
class TextPreparation:
    """Tokenises texts, and pads all of them to the context length, as in open_clip's training.

    Args:
        tokenizer: open_clip's.
        max_tokens: longer texts are cut there, or at the context length where that is shorter.
        lowercase: whether texts are lower-cased first.
    """

    tokenizer: Any
    max_tokens: int
    lowercase: bool

    def read(self, payloads: Sequence[str]) -> list[Tensor]:
        """Token ids of each text, (S,)."""
        texts = [text.lower() for text in payloads] if self.lowercase else list(payloads)
        length = self.tokenizer.context_length
        with TOKENIZING:
            cut = self.tokenizer(texts, context_length=min(self.max_tokens, length))
        return list(F.pad(cut, (0, length - cut.shape[1]), value=self._padding))

    def lengths(self, read: Sequence[Tensor]) -> None:
        """All texts are padded to one length."""
        return None

    def collate(self, read: Sequence[Tensor]) -> dict[str, Tensor]:
        """(B, S) token ids and the attention mask."""
        tokens = torch.stack(list(read))
        return {"input_ids": tokens, "attention_mask": _real(tokens, self._padding)}

    @property
    def _padding(self) -> int:
        transformers_own = getattr(self.tokenizer, "tokenizer", None)
        return transformers_own.pad_token_id if transformers_own else 0


def load_image(name: str) -> Network:
    """Loads the vision tower; see `toolkit.backbones.load_encoder`.

    Raises:
        UserError: if it cannot be found, or its weights are pickled.
    """
    model, transform = _load(name)
    return image_network(
        name,
        model.visual,
        ImagePreparation(transform),
        _run_timm if isinstance(model.visual, TimmModel) else _run_image,
        commit=_commit_of(name),
        processor=processor_name(transform),
    )


def load_text(name: str, *, max_tokens: int, lowercase: bool) -> Network:
    """Loads the text tower; see `toolkit.backbones.load_encoder`.

    Its own tokenizer cuts texts at its context length where `max_tokens` is larger, and fills them up to
    it, as in its training.

    Raises:
        UserError: if it cannot be found, or its weights are pickled.
    """
    model, _ = _load(name)
    tower = getattr(model, "text", model)
    try:
        tokenizer = open_clip.get_tokenizer(_address(name))
    except (OSError, ValueError) as error:
        raise unreachable(name, error) from error
    del model.visual
    if isinstance(tower, HFTextEncoder):
        depth, width = tower.config.num_hidden_layers, tower.config.hidden_size
        run: Run = _run_transformers
    else:
        depth, width = len(tower.transformer.resblocks), tower.transformer.width
        run = _run_text
    return Network(
        model=model,
        preparation=TextPreparation(tokenizer, max_tokens=max_tokens, lowercase=lowercase),
        run=run,
        depth=depth,
        width=width,
        commit=_commit_of(name),
        has_cls=isinstance(tower, HFTextEncoder),
        processor=processor_name(getattr(tokenizer, "tokenizer", None) or tokenizer),
    )


def _load(name: str) -> tuple[Any, Any]:
    """The whole model, and its transform of images."""
    where = resolve(name)
    if Path(where).is_dir() and not any(Path(where).glob("*.safetensors")):
        raise UserError(
            f"encoder {name!r}: {where} holds no *.safetensors; pickled weights are not loaded"
        )
    try:
        return open_clip.create_model_from_pretrained(_address(name))
    except (OSError, ValueError, RuntimeError) as error:
        raise unreachable(name, error) from error


def _commit_of(name: str) -> str | None:
    return commit_of(name, None, config="open_clip_config.json")


def _address(name: str) -> str:
    """The name by which open_clip loads it."""
    where = resolve(name)
    return ("local-dir:" if Path(where).is_dir() else "hf-hub:") + where


def _run_timm(tower: Any, inputs: dict[str, Tensor]) -> Hidden:
    return run_timm(tower.trunk, inputs)


def _run_image(tower: Any, inputs: dict[str, Tensor]) -> Hidden:
    if isinstance(tower, ModifiedResNet):
        blocks = [tower.layer1, tower.layer2, tower.layer3, tower.layer4]
    else:
        blocks = list(tower.transformer.resblocks)
    states = listen(blocks, lambda: tower(inputs["pixel_values"]))
    return Hidden([as_tokens(state) for state in states], None)


def _run_transformers(model: Any, inputs: dict[str, Tensor]) -> Hidden:
    return run_transformers(getattr(model, "text", model).transformer, inputs)


def _run_text(model: Any, inputs: dict[str, Tensor]) -> Hidden:
    mask = inputs["attention_mask"]
    blocks = list(getattr(model, "text", model).transformer.resblocks)
    states = listen(blocks, lambda: model.encode_text(inputs["input_ids"]))
    return Hidden([state[:, : mask.shape[1]] for state in states], mask)  # CoCa adds a token


def _real(tokens: Tensor, padding: int) -> Tensor:
    """(B, S): 1 up to the last token that is not padding, the first in any case; CLIP's padding is also its `!`."""
    real = (tokens != padding).long().flip(1).cummax(dim=1).values.flip(1)
    real[:, 0] = 1
    return real
