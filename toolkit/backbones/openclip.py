"""Either side of a model of open_clip: `open_clip:FOLDER` or `open_clip:OWNER/NAME` on the hub.

A folder holds `open_clip_config.json` and the weights as safetensors, as open_clip's own hub
repositories do, and the files of the tokenizer where it is not open_clip's own.

B items, S tokens, D width.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import open_clip
import torch
from open_clip.hf_model import HFTextEncoder
from open_clip.modified_resnet import ModifiedResNet
from open_clip.timm_model import TimmModel
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F

from toolkit.backbones.backbone import Encoder, Hidden
from toolkit.backbones.image import Prepare, Run, of_pictures
from toolkit.backbones.listening import as_tokens, listen, run_timm
from toolkit.backbones.pretrained import processor_name, run_with
from toolkit.backbones.resolve import commit_of, resolve, unreachable
from toolkit.errors import UserError
from toolkit.images import decode_jpeg


def load_image(name: str) -> Encoder:
    """Loads the vision tower; see `toolkit.backbones.load_backbone`.

    Raises:
        UserError: if it cannot be found, or its weights are pickled.
    """
    model, transform = _load(name)
    tower = model.visual.requires_grad_(False).eval()

    def prepare(items: Sequence[bytes]) -> dict[str, Tensor]:
        images = [transform(Image.fromarray(decode_jpeg(item))) for item in items]
        return {"pixel_values": torch.stack(images)}

    return of_pictures(
        name,
        tower,
        prepare,
        _run_image(tower),
        _commit_of(name),
        processor=processor_name(transform),
    )


def load_text(name: str, *, max_tokens: int, lowercase: bool) -> Encoder:
    """Loads the text tower; see `toolkit.backbones.load_backbone`.

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
    model.requires_grad_(False).eval()
    prepare = _tokenize_with(tokenizer, max_tokens=max_tokens, lowercase=lowercase)
    if isinstance(tower, HFTextEncoder):
        depth, width = tower.config.num_hidden_layers, tower.config.hidden_size
        run = run_with(tower.transformer)
    else:
        depth, width = len(tower.transformer.resblocks), tower.transformer.width
        run = _run_text(model, list(tower.transformer.resblocks))
    return Encoder(
        model=model,
        prepare=prepare,
        run=run,
        depth=depth,
        width=width,
        commit=_commit_of(name),
        has_cls=isinstance(tower, HFTextEncoder),
        processor=processor_name(getattr(tokenizer, "tokenizer", None) or tokenizer),
    )


def _load(name: str) -> tuple[Any, Any]:
    """The whole model, and what it does to pictures."""
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
    """What open_clip calls it."""
    where = resolve(name)
    return ("local-dir:" if Path(where).is_dir() else "hf-hub:") + where


def _run_image(tower: Any) -> Run:
    if isinstance(tower, TimmModel):
        return run_timm(tower.trunk)
    if isinstance(tower, ModifiedResNet):
        blocks = [tower.layer1, tower.layer2, tower.layer3, tower.layer4]
    else:
        blocks = list(tower.transformer.resblocks)

    def run(inputs: dict[str, Tensor]) -> Hidden:
        states = listen(blocks, lambda: tower(inputs["pixel_values"]))
        return Hidden([as_tokens(state) for state in states], None)

    return run


def _run_text(model: Any, blocks: Sequence[nn.Module]) -> Run:
    def run(inputs: dict[str, Tensor]) -> Hidden:
        mask = inputs["attention_mask"]
        states = listen(blocks, lambda: model.encode_text(inputs["input_ids"]))
        return Hidden([state[:, : mask.shape[1]] for state in states], mask)  # CoCa adds a token

    return run


def _tokenize_with(tokenizer: Any, *, max_tokens: int, lowercase: bool) -> Prepare:
    length = tokenizer.context_length
    own = getattr(tokenizer, "tokenizer", None)  # of transformers
    padding = own.pad_token_id if own else 0

    def prepare(items: Sequence[str]) -> dict[str, Tensor]:
        texts = [text.lower() for text in items] if lowercase else list(items)
        cut = tokenizer(texts, context_length=min(max_tokens, length))
        tokens = F.pad(cut, (0, length - cut.shape[1]), value=padding)
        return {"input_ids": tokens, "attention_mask": _real(tokens, padding)}

    return prepare


def _real(tokens: Tensor, padding: int) -> Tensor:
    """(B, S): 1 up to the last token that is not padding, the first in any case; CLIP's padding is also its `!`."""
    real = (tokens != padding).long().flip(1).cummax(dim=1).values.flip(1)
    real[:, 0] = 1
    return real
