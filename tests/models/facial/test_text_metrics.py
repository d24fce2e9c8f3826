import math

import pytest
import torch
import torch.nn.functional as F

from models.facial.text_metrics import bleu, token_accuracy

TEXT = "the lip corners are pulled up"


def test_token_accuracy_counts_tokens_that_are_not_ignored():
    targets = torch.tensor([[3, 1, -100], [2, 0, 1]])
    logits = F.one_hot(torch.tensor([[3, 2, 0], [2, 0, 0]]), 4).float()
    assert token_accuracy(logits, targets) == 3 / 5
    assert math.isnan(token_accuracy(logits, torch.full((2, 3), -100)))


def test_bleu():
    assert bleu([TEXT], [TEXT]) == pytest.approx(1)
    # Of 6, 5, 4 and 3 n-grams, 5, 4, 3 and 2 occur in the reference; the lengths are equal.
    changed = TEXT.replace("up", "down")
    assert bleu([changed], [TEXT]) == pytest.approx((5 / 6 * 4 / 5 * 3 / 4 * 2 / 3) ** 0.25)
    with pytest.raises(ValueError, match="1 texts and 2 references"):
        bleu([TEXT], [TEXT, TEXT])
