"""How well the decoders reproduce the texts of the labels.

L tokens, V words.
"""

from collections.abc import Sequence

from torch import Tensor

from models.facial.vocabulary import IGNORED
from toolkit.errors import UserError


def token_accuracy(logits: Tensor, targets: Tensor) -> float:
    """The share of tokens that are predicted right after the true tokens before them; nan if all are ignored.

    Args:
        logits: (..., L, V) under teacher forcing.
        targets: (..., L); -100 is ignored.
    """
    counted = targets != IGNORED
    right = (logits.argmax(-1) == targets) & counted
    count = int(counted.sum())
    return int(right.sum()) / count if count else float("nan")


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
