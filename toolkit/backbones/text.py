"""Text encoders through transformers."""

from collections.abc import Callable, Sequence
from typing import Any

from torch import Tensor
from transformers import AutoTokenizer

from toolkit.backbones.backbone import Encoder
from toolkit.backbones.pretrained import load_pretrained, run_with, shape_of
from toolkit.backbones.resolve import commit_of


def load(
    name: str,
    *,
    revision: str | None,
    max_tokens: int,
    lowercase: bool,
    trust_remote_code: bool,
) -> Encoder:
    """Loads a text encoder; see `toolkit.backbones.load_backbone`.

    Raises:
        UserError: if it cannot be found, or its layers have no single width.
    """
    tokenizer, model = load_pretrained(
        name, AutoTokenizer, revision=revision, trust_remote_code=trust_remote_code
    )
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    if hasattr(model, "text_model"):  # CLIP, SigLIP, ...
        model = model.text_model
        max_tokens = min(max_tokens, model.config.max_position_embeddings)
    depth, width = shape_of(name, model)
    return Encoder(
        model=model.requires_grad_(False).eval(),
        prepare=_prepare_with(tokenizer, max_tokens, lowercase),
        run=run_with(model),
        depth=depth,
        width=width,
        commit=commit_of(name, revision),
    )


def _prepare_with(
    tokenizer: Any, max_tokens: int, lowercase: bool
) -> Callable[[Sequence[str]], dict[str, Tensor]]:
    def prepare(items: Sequence[str]) -> dict[str, Tensor]:
        texts = [text.lower() for text in items] if lowercase else list(items)
        return dict(
            tokenizer(
                texts,
                padding=True,
                truncation=True,
                max_length=max_tokens,
                return_tensors="pt",
                return_attention_mask=True,  # SigLIP's gives none unasked
            )
        )

    return prepare
