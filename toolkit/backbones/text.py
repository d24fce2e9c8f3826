"""Text encoders through transformers: encoder-only, decoder-only, and the encoder of both-sided models.

Padding goes to the right whatever side the tokenizer is set to. Then a text's tokens are at the places
0, 1, ... as they are without padding, which models with absolute positions count from (BERT, GPT-2), and no
token of a decoder-only model, not even of a recurrent one, comes after padding that it could see.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from transformers import AutoTokenizer

from toolkit.backbones.backbone import Encoder, Tokens
from toolkit.backbones.pooling import Pooling
from toolkit.backbones.pretrained import load_pretrained, processor_name, run_with, shape_of
from toolkit.backbones.resolve import commit_of
from toolkit.backbones.weights import Weights
from toolkit.errors import UserError


def load(
    name: str,
    *,
    revision: str | None,
    pooling: Pooling,
    max_tokens: int,
    lowercase: bool,
    trust_remote_code: bool,
    weights: Weights,
) -> Encoder:
    """Loads a text encoder; see `toolkit.backbones.load_backbone`.

    Raises:
        UserError: if it cannot be found, its layers have no single width, or it cannot be pooled so.
    """
    tokenizer, model = load_pretrained(
        name,
        AutoTokenizer,
        revision=revision,
        trust_remote_code=trust_remote_code,
        weights=weights,
    )
    if hasattr(model, "text_model"):  # CLIP, SigLIP, ...
        model = model.text_model
        max_tokens = min(max_tokens, model.config.max_position_embeddings)
    _pad_right(name, tokenizer, model)
    if getattr(model.config, "is_encoder_decoder", False):  # T5, BART
        model = model.get_encoder()
    model.requires_grad_(False).eval()
    if pooling == "cls":
        _refuse_cls(name, tokenizer, model)
    depth, width = shape_of(name, model)
    return Encoder(
        model=model,
        prepare=_prepare_with(tokenizer),
        run=run_with(model),
        depth=depth,
        width=width,
        commit=commit_of(name, revision),
        tokenize=_tokenize_with(tokenizer, max_tokens, lowercase),
        processor=processor_name(tokenizer),
    )


def _pad_right(name: str, tokenizer: Any, model: Any) -> None:
    """Any token does for padding, as the mask hides it, but the model must have a row for it.

    Decoder-only models may have no token for it, or their tokenizers one that the weights do not know.
    """
    rows = model.get_input_embeddings().weight.shape[0]
    tokens = (tokenizer.pad_token, tokenizer.eos_token, tokenizer.bos_token, tokenizer.unk_token)
    known = [x for x in tokens if x is not None and tokenizer.convert_tokens_to_ids(x) < rows]
    if not known:
        raise UserError(
            f"encoder {name!r}: its tokenizer names neither a padding nor an end-of-text token that the "
            "model knows; set pad_token in a local copy's tokenizer_config.json to a word of its vocabulary"
        )
    tokenizer.pad_token = known[0]
    tokenizer.padding_side = "right"


def _refuse_cls(name: str, tokenizer: Any, model: Any) -> None:
    """Pooling `cls` takes the first token, which says something only if it is a [CLS] that sees the rest."""
    if _is_causal(model):
        reason = "is decoder-only: its first token sees nothing of a text"
    elif tokenizer("a")["input_ids"][0] != tokenizer.cls_token_id:
        reason = "puts no [CLS] token before a text"
    else:
        return
    raise UserError(f"encoder {name!r} {reason}, so pooling cls is no use; take mean or last")


@torch.no_grad()
def _is_causal(model: Any) -> bool:
    """Whether the first token's state stays the same when the second token changes."""
    pairs = [torch.tensor([[0, second]], device=model.device) for second in (1, 2)]
    one, other = (model(input_ids=x, attention_mask=torch.ones_like(x))[0][:, 0] for x in pairs)
    return torch.equal(one, other)


def _tokenize_with(
    tokenizer: Any, max_tokens: int, lowercase: bool
) -> Callable[[Sequence[str]], list[Tokens]]:
    def tokenize(items: Sequence[str]) -> list[Tokens]:
        texts = [text.lower() for text in items] if lowercase else list(items)
        columns = tokenizer(
            texts, truncation=True, max_length=max_tokens, return_attention_mask=True
        )
        rows = zip(*columns.values(), strict=True)
        return [_not_nothing(dict(zip(columns, row, strict=True))) for row in rows]

    def _not_nothing(tokens: Tokens) -> Tokens:
        """What a tokenizer leaves nothing of (a blank, say) is read as the padding token, unhidden."""
        nothing = {"input_ids": [tokenizer.pad_token_id], "attention_mask": [1]}
        return tokens if tokens["input_ids"] else nothing

    return tokenize


def _prepare_with(tokenizer: Any) -> Callable[[Sequence[Tokens]], dict[str, Tensor]]:
    def prepare(items: Sequence[Tokens]) -> dict[str, Tensor]:
        # SigLIP's tokenizer would leave the mask as it is.
        return dict(tokenizer.pad(list(items), return_attention_mask=True, return_tensors="pt"))

    return prepare
