"""Losses over negatives drawn for each row: BCE, gBCE and BPR.

R predicted positions (rows), n negatives per row, M columns, C items of the catalogue, E embedding. s+ is the score of a
row's target, and s_j that of its negative j.
"""

from collections.abc import Callable
from functools import partial

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from models.losses.candidates import Sampling, occurrences
from models.losses.loss import Columns, LossInputs, Scores
from models.losses.negatives import NegativeSampler
from models.losses.objectives import Examples
from toolkit.errors import UserError
from toolkit.splits import Splits

CHUNK_BYTES = 1 << 26  # of the embeddings of negatives per chunk


class BCE:
    """Binary cross-entropy: -log σ(s+) - Σ_j log(1 - σ(s_j)) per row, as in SASRec (arXiv 1808.09781).

    With one negative this is the loss of NineRec, IDvs.MoRec, MMSR and Adapter4Rec.

    Args:
        splits: splits with the catalogue.
        count: n, negatives per row.
        by: distribution of the negatives (`models.losses.negatives`).
    """

    def __init__(self, splits: Splits, *, count: int, by: Sampling) -> None:
        self.draw = NegativeSampler(splits, count=count, by=by)

    def columns(self, examples: Examples, seed: tuple[int, ...]) -> Columns:
        """The items of the batch, and the negatives of each row."""
        return with_negatives(examples, self.draw, seed)

    def __call__(
        self, states: Tensor, table: Tensor, batch: LossInputs, *, scores: Scores | None = None
    ) -> Tensor:
        """The weighted sum over rows, a scalar."""
        positive, negative = scores_of_rows(states, table, batch, scores=scores)
        return ((F.softplus(-positive) + F.softplus(negative).sum(1)) * batch.weights).sum()


class GBCE:
    """Generalised binary cross-entropy, which corrects the overconfidence of BCE on sampled negatives (gSASRec).

    L = -1/(n + 1) · (β log σ(s+) + Σ_j log(1 - σ(s_j))), with β = α (t (1 - 1/α) + 1/α) and the sampling rate
    α = n / (C - 1). t = 0 is BCE divided by n + 1; t = 1 calibrates the scores to those of the full softmax.
    arXiv 2308.07192.

    Args:
        splits: splits with the catalogue.
        count: n, negatives per row.
        by: distribution of the negatives (`models.losses.negatives`); the paper draws uniformly.
        t: calibration, 0 to 1; the paper uses 0.75 with 256 negatives.

    Raises:
        UserError: if t is outside of this range.
    """

    def __init__(self, splits: Splits, *, count: int, by: Sampling, t: float = 0.75) -> None:
        if isinstance(t, bool) or not isinstance(t, int | float) or not 0 <= t <= 1:
            raise UserError(f"train.loss_settings.t is {t!r}; gbce expects a number from 0 to 1")
        self.draw = NegativeSampler(splits, count=count, by=by)
        rate = min(count / max(len(splits.catalogue) - 1, 1), 1.0)
        self.exponent = rate * (t * (1 - 1 / rate) + 1 / rate)

    def columns(self, examples: Examples, seed: tuple[int, ...]) -> Columns:
        """The items of the batch, and the negatives of each row."""
        return with_negatives(examples, self.draw, seed)

    def __call__(
        self, states: Tensor, table: Tensor, batch: LossInputs, *, scores: Scores | None = None
    ) -> Tensor:
        """The weighted sum over rows, a scalar."""
        positive, negative = scores_of_rows(states, table, batch, scores=scores)
        terms = self.exponent * F.softplus(-positive) + F.softplus(negative).sum(1)
        return (terms / (1 + negative.shape[1]) * batch.weights).sum()


class BPR:
    """Bayesian personalised ranking: the mean over j of -log σ(s+ - s_j) per row (arXiv 1205.2618).

    Args:
        splits: splits with the catalogue.
        count: n, negatives per row.
        by: distribution of the negatives (`models.losses.negatives`).
    """

    def __init__(self, splits: Splits, *, count: int, by: Sampling) -> None:
        self.draw = NegativeSampler(splits, count=count, by=by)

    def columns(self, examples: Examples, seed: tuple[int, ...]) -> Columns:
        """The items of the batch, and the negatives of each row."""
        return with_negatives(examples, self.draw, seed)

    def __call__(
        self, states: Tensor, table: Tensor, batch: LossInputs, *, scores: Scores | None = None
    ) -> Tensor:
        """The weighted sum over rows, a scalar."""
        positive, negative = scores_of_rows(states, table, batch, scores=scores)
        return (F.softplus(negative - positive[:, None]).mean(1) * batch.weights).sum()


def with_negatives(examples: Examples, draw: NegativeSampler, seed: tuple[int, ...]) -> Columns:
    """The items of the sequences and the drawn items as columns, and the negatives of each row."""
    negatives = draw(examples.sequences, examples.sequence_of_rows(), seed)
    items = np.union1d(occurrences(examples), negatives).astype(np.int64)
    return Columns(
        items, np.ones_like(items), np.zeros(len(items), dtype=np.float32), negatives=negatives
    )


def scores_of_rows(
    states: Tensor, table: Tensor, batch: LossInputs, *, scores: Scores | None = None
) -> tuple[Tensor, Tensor]:
    """Scores of the targets, (R,), and of the negatives, (R, n).

    The embeddings of the negatives are gathered in chunks of rows, and again in the backward pass, so that they need no
    memory for all R·n.

    Args:
        states: (R, E) user states.
        table: (M + 1, E) item embeddings.
        batch: targets and negatives.
        scores: computes the scores; None for dot products.

    Raises:
        ValueError: if the batch has no negatives per row.
    """
    negatives = batch.negatives
    if negatives is None:
        raise ValueError("the loss requires negatives for each row, and the batch has none")
    values = table.shape[1]
    compute: Callable[[Tensor, Tensor, Tensor], Tensor] = _dot_products
    if scores is None:
        positive = (states * F.embedding(batch.targets, table)).sum(1)
    else:
        values += scores.values_per_score
        compute = partial(_own_scores, scores)
        positive = compute(states, table, batch.targets[:, None]).squeeze(1)
    size = max(1, CHUNK_BYTES // (4 * max(negatives.shape[1], 1) * values))
    if len(states) <= size:
        return positive, compute(states, table, negatives)
    parts = [
        checkpoint(
            compute, part, table, chosen, use_reentrant=False, preserve_rng_state=scores is not None
        )
        for part, chosen in zip(states.split(size), negatives.split(size), strict=True)
    ]
    return positive, torch.cat(parts)


def _dot_products(states: Tensor, table: Tensor, items: Tensor) -> Tensor:
    """(R, E), (M + 1, E), (R, n) -> (R, n)."""
    return torch.bmm(F.embedding(items, table), states[:, :, None]).squeeze(2)


def _own_scores(scores: Scores, states: Tensor, table: Tensor, items: Tensor) -> Tensor:
    """(R, E), (M + 1, F), (R, n) -> (R, n)."""
    return scores(states[:, None], F.embedding(items, table)).squeeze(1)
