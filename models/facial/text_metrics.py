"""How well the decoders reproduce the texts of the labels.

L tokens, V words.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from models.facial.vocabulary import IGNORED
from toolkit.errors import UserError


def token_accuracy(logits: Tensor, targets: Tensor) -> float:
    """The share of tokens that are predicted right after the true tokens before them; nan if all are ignored.

    Args:
        logits: (..., L, V) under teacher forcing.
        targets: (..., L); -100 is ignored.
    """
    right, counted = token_hits(logits, targets).sum(0).tolist()
    return right / counted if counted else float("nan")


def token_hits(logits: Tensor, targets: Tensor) -> Tensor:
    """(B, 2) numbers of tokens of each face that are predicted right, and of all; of `token_accuracy`'s arguments."""
    counted = (targets != IGNORED).flatten(1)
    right = (logits.argmax(-1) == targets).flatten(1) & counted
    return torch.stack([right.sum(1), counted.sum(1)], dim=1)


def bleu(texts: Sequence[str], references: Sequence[str]) -> float:
    """BLEU-4 of a corpus with one reference per text, in [0, 1] (Papineni et al. 2002), by sacreBLEU (arXiv 1804.08771).

    Tokens are those of sacreBLEU's default, `13a`; scripts without spaces need a reference tokenizer of their own.

    Args:
        texts: generated texts.
        references: texts of the labels, as many.

    Raises:
        UserError: if sacreBLEU is not installed.
        ValueError: if there is no text, or another number of references.
    """
    if not texts or len(texts) != len(references):
        raise ValueError(f"{len(texts)} texts and {len(references)} references; expected as many")
    try:
        from sacrebleu import corpus_bleu
    except ImportError as error:
        raise UserError(
            "BLEU needs sacrebleu, which is not installed; pip install 'versa-toolkit[faces]'"
        ) from error
    return float(corpus_bleu(list(texts), [list(references)]).score) / 100
