"""Text encoders through transformers: encoder-only, decoder-only, and the encoder of both-sided models.

Padding goes to the right whatever side the tokenizer is set to. Then a text's tokens are at positions
0, 1, ... as they are without padding, which models with absolute positions count from (BERT, GPT-2), and no
token of a decoder-only model, not even of a recurrent one, comes after padding that it could see.
"""

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AutoTokenizer

from toolkit.backbones.network import Network
from toolkit.backbones.pretrained import (
    load_pretrained,
    probing,
    processor_name,
    run,
    shape_of,
    side_of,
)
from toolkit.backbones.resolve import commit_of
from toolkit.backbones.spec import Pooling
from toolkit.backbones.weights import Weights
from toolkit.errors import UserError

Tokens = dict[str, list[int]]  # of one text: input_ids and whatever else its tokenizer returns

# What models call their table of learned positions.
_POSITIONS = ("position_embeddings", "position_embedding", "embed_positions", "wpe")

TOKENIZING = (
    threading.Lock()
)  # a call sets the tokenizer's truncation, which two threads must not do at once


@dataclass(frozen=True)
class TextPreparation:
    """Tokenises texts, and pads those of a batch to the longest.

    Args:
        tokenizer: of transformers.
        max_tokens: longer texts are cut there.
        lowercase: whether texts are lower-cased first.
    """

    tokenizer: Any
    max_tokens: int
    lowercase: bool

    def read(self, payloads: Sequence[str]) -> list[Tokens]:
        """Each text's tokens. A text without any (a blank, say) is read as one visible padding token."""
        texts = [text.lower() for text in payloads] if self.lowercase else list(payloads)
        with TOKENIZING:
            columns = self.tokenizer(
                texts, truncation=True, max_length=self.max_tokens, return_attention_mask=True
            )
        empty = {"input_ids": [self.tokenizer.pad_token_id], "attention_mask": [1]}
        rows = (dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True))
        return [tokens if tokens["input_ids"] else empty for tokens in rows]

    def lengths(self, read: Sequence[Tokens]) -> list[int]:
        """Tokens of each text."""
        return [len(tokens["input_ids"]) for tokens in read]

    def collate(self, read: Sequence[Tokens]) -> dict[str, Tensor]:
        """(B, S) token ids and the attention mask."""
        # SigLIP's tokenizer would leave the mask as it is.
        return dict(self.tokenizer.pad(list(read), return_attention_mask=True, return_tensors="pt"))


def load(
    name: str,
    *,
    revision: str | None,
    pooling: Pooling,
    max_tokens: int,
    lowercase: bool,
    trust_remote_code: bool,
    weights: Weights,
) -> Network:
    """Loads a text encoder; see `toolkit.backbones.load_encoder`.

    Raises:
        UserError: if it cannot be found, its layers have no single width, it cannot be pooled so, or `max_tokens` exceeds
            its learned positions.
    """
    tokenizer, model = load_pretrained(
        name,
        AutoTokenizer,
        revision=revision,
        trust_remote_code=trust_remote_code,
        weights=weights,
    )
    if hasattr(model, "text_model"):  # CLIP, SigLIP, ...
        model = side_of(name, model, "text_model")
        max_tokens = min(max_tokens, model.config.max_position_embeddings)
    _refuse_beyond_positions(name, model, max_tokens)
    _pad_right(name, tokenizer, model)
    if getattr(model.config, "is_encoder_decoder", False):  # T5, BART
        model = model.get_encoder()
    if pooling == "cls":
        _refuse_cls(name, tokenizer, model)
    depth, width = shape_of(name, model)
    return Network(
        model=model,
        preparation=TextPreparation(tokenizer, max_tokens=max_tokens, lowercase=lowercase),
        run=run,
        depth=depth,
        width=width,
        commit=commit_of(name, revision),
        processor=processor_name(tokenizer),
    )


def _refuse_beyond_positions(name: str, model: nn.Module, max_tokens: int) -> None:
    """Refuses texts longer than the table of learned positions; relative and rotary positions have no such table."""
    for path, module in model.named_modules():
        if isinstance(module, nn.Embedding) and path.rpartition(".")[2] in _POSITIONS:
            before = (
                0 if module.padding_idx is None else module.padding_idx + 1
            )  # rows that no text uses
            positions = module.num_embeddings - max(before, getattr(module, "offset", 0))
            if max_tokens > positions:
                raise UserError(
                    f"encoder {name!r} has {positions} positions, and max_tokens is {max_tokens}; set max_tokens to at most "
                    f"{positions}"
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
    """Pooling `cls` reads the first token, which represents the text only if it is a [CLS] that attends to the rest."""
    if _is_causal(model):
        reason = "is decoder-only: its first token sees nothing of a text"
    elif tokenizer("a")["input_ids"][0] != tokenizer.cls_token_id:
        reason = "puts no [CLS] token before a text"
    else:
        return
    raise UserError(f"encoder {name!r} {reason}, so pooling cls is no use; take mean or last")


def _is_causal(model: Any) -> bool:
    """Whether the first token's state stays the same when the second token changes."""
    pairs = [torch.tensor([[0, token]], device=model.device) for token in (1, 2)]
    with probing(model):
        first, second = (
            model(input_ids=x, attention_mask=torch.ones_like(x))[0][:, 0] for x in pairs
        )
    return torch.equal(first, second)
