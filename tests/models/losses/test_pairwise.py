"""Losses over negatives drawn for each target: their equations, how negatives are drawn, and runs with them."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sequence_data import (
    ITEMS,
    E,
    L,
    batches,
    circle,
    first_hit_share,
    hide,
    noise,
    splits_of,
    train_model,
)
from torch import Tensor

from models import IdEmbedding, Recommender, SASRec
from models.config import parse_run_config
from models.losses import LOSSES, negatives, pairwise
from models.losses.loss import LossInputs
from models.losses.negatives import NegativeSampler
from models.losses.objectives import Examples, last_item, next_item
from models.losses.pairwise import BCE, BPR, GBCE
from models.train import train
from toolkit import UserError

KINDS: dict[str, Callable[..., Any]] = {"bce": BCE, "gbce": GBCE, "bpr": BPR}
OBJECTIVES = {"next-item": next_item, "last-item": last_item, "masked-item": hide}


def sigmoid_log(score: Tensor) -> Tensor:
    return (1 / (1 + (-score.double()).exp())).log()


def bce_of(positive: Tensor, negatives: list[Tensor]) -> Tensor:
    """-log σ(s+) - Σ_j log(1 - σ(s_j)); 1 - σ(s) = σ(-s)."""
    return -sigmoid_log(positive) - sum(sigmoid_log(-s) for s in negatives)


def gbce_of(positive: Tensor, negatives: list[Tensor]) -> Tensor:
    """gSASRec with t = 0.75: σ(s+) to the power of β."""
    rate = len(negatives) / (ITEMS - 1)
    beta = rate * (0.75 * (1 - 1 / rate) + 1 / rate)
    terms = beta * sigmoid_log(positive) + sum(sigmoid_log(-s) for s in negatives)
    return -terms / (len(negatives) + 1)


def bpr_of(positive: Tensor, negatives: list[Tensor]) -> Tensor:
    """The mean over j of -log σ(s+ - s_j)."""
    return -sum(sigmoid_log(positive - s) for s in negatives) / len(negatives)  # type: ignore[return-value]


EQUATIONS = {"bce": bce_of, "gbce": gbce_of, "bpr": bpr_of}


def rows_of(count: int, negatives: int, weights: Tensor) -> tuple[Tensor, Tensor, LossInputs]:
    """Random states, table and batch of `count` rows."""
    generator = torch.Generator().manual_seed(1)
    states = torch.randn(count, E, generator=generator).requires_grad_(True)
    table = torch.randn(ITEMS + 1, E, generator=generator).requires_grad_(True)
    batch = LossInputs(
        inputs=torch.ones(count, 1).long(),
        rows=torch.arange(count),
        targets=torch.randint(1, ITEMS + 1, (count,), generator=generator),
        weights=weights,
        bias=torch.zeros(ITEMS + 1),
        log_counts=torch.zeros(ITEMS + 1),
        negatives=torch.randint(1, ITEMS + 1, (count, negatives), generator=generator),
    )
    return states, table, batch


@pytest.mark.parametrize("chunk_bytes", [1 << 26, 3 * 4 * E * 2])
@pytest.mark.parametrize("negatives", [1, 3])
@pytest.mark.parametrize("name", KINDS)
def test_value_and_gradients_are_those_of_the_equation(
    name: str, negatives: int, chunk_bytes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Row by row in float64; also if the embeddings of the negatives are gathered in chunks."""
    monkeypatch.setattr(pairwise, "CHUNK_BYTES", chunk_bytes)
    weights = torch.tensor([0.2, 0.0, 0.5, 0.1, 0.1, 0.05, 0.05])
    states, table, batch = rows_of(7, negatives, weights)
    loss = KINDS[name](splits_of(circle(0)), count=negatives, by="uniform")
    assert batch.negatives is not None
    expected = torch.zeros((), dtype=torch.float64)
    for row, weight in enumerate(weights.tolist()):
        scores = [states[row] @ table[item] for item in batch.negatives[row]]
        target = states[row] @ table[batch.targets[row]]
        expected = expected + weight * EQUATIONS[name](target, scores)
    ours = loss(states, table, batch)
    torch.testing.assert_close(ours.double(), expected, rtol=1e-5, atol=1e-6)
    for mine, theirs in zip(
        torch.autograd.grad(ours, (states, table)),
        torch.autograd.grad(expected, (states, table)),
        strict=True,
    ):
        torch.testing.assert_close(mine, theirs, rtol=1e-4, atol=1e-6)


def test_the_ends_of_the_calibration() -> None:
    """t = 0 is BCE over n + 1 terms; t = 1 weighs the target by the sampling rate n / (C - 1)."""
    splits, (states, table, batch) = splits_of(circle(0)), rows_of(5, 2, torch.full((5,), 0.2))
    plain = BCE(splits, count=2, by="uniform")(states, table, batch)
    zero = GBCE(splits, count=2, by="uniform", t=0)(states, table, batch)
    torch.testing.assert_close(zero, plain / 3)
    assert GBCE(splits, count=2, by="uniform", t=1).exponent == pytest.approx(2 / (ITEMS - 1))


@pytest.mark.parametrize("by", ["uniform", "popularity"])
def test_negatives_are_drawn_in_proportion_from_the_items_outside_the_sequence(by: Any) -> None:
    sequences = np.array([[0, 0, 3, 3, 7], [1, 2, 9, 9, 9], [0, 0, 0, 0, 12]], dtype=np.int32)
    splits = splits_of(np.concatenate([noise(0)[:40, :5], sequences]))
    shares = splits.train_counts.astype(float)
    if by == "uniform":
        shares = np.where(np.arange(ITEMS + 1) > 0, 1.0, 0.0)
    draw = NegativeSampler(splits, count=20_000, by=by)
    drawn = draw(sequences, np.array([0, 0, 1, 2]), (5,))
    assert drawn.shape == (4, 20_000)
    for row, owner in enumerate((0, 0, 1, 2)):
        outside = shares.copy()
        outside[sequences[owner]] = 0
        expected = outside / outside.sum()
        observed = np.bincount(drawn[row], minlength=ITEMS + 1) / 20_000
        assert not observed[sequences[owner]].any() and observed[0] == 0
        # Five standard errors of a share.
        limit = 5 * np.sqrt(expected * (1 - expected) / 20_000)
        assert (np.abs(observed - expected) <= limit).all()
    assert not np.array_equal(drawn[0], drawn[1])
    assert np.array_equal(drawn, draw(sequences, np.array([0, 0, 1, 2]), (5,)))
    assert not np.array_equal(drawn, draw(sequences, np.array([0, 0, 1, 2]), (6,)))


def test_the_only_items_left_are_drawn() -> None:
    sequences = np.array([[*range(1, ITEMS)]], dtype=np.int32)
    drawn = NegativeSampler(splits_of(sequences), count=4, by="uniform")(
        sequences, np.zeros(3, dtype=np.int64), (0,)
    )
    assert (drawn == ITEMS).all()


@pytest.mark.parametrize("objective", OBJECTIVES)
@pytest.mark.parametrize("name", KINDS)
def test_no_negative_is_an_item_of_its_own_sequence(name: str, objective: str) -> None:
    """So neither the target nor a repetition of it; and a mask token is never a negative."""
    rng = np.random.default_rng(2)
    sequences = rng.integers(1, 6, size=(64, L + 1)).astype(np.int32)  # items repeat often
    loss = KINDS[name](splits_of(sequences), count=3, by="uniform")
    examples: Examples = OBJECTIVES[objective](sequences, (1,))
    negatives = loss.columns(examples, (1,)).negatives
    own = sequences[examples.sequence_of_rows()]
    assert negatives.shape == (len(examples.rows), 3)
    assert negatives.min() >= 1 and negatives.max() <= ITEMS
    assert not (negatives[:, :, None] == own[:, None, :]).any()
    batch = batches(sequences, loss, OBJECTIVES[objective]).batch(sequences, seed=(1,))
    assert batch.negatives is not None and (batch.negatives > 0).all()


@pytest.mark.parametrize("name", KINDS)
def test_equal_scores_have_the_losses_of_chance(name: str) -> None:
    """log 2 per term."""
    sequences = circle(0)
    loss = KINDS[name](splits_of(sequences), count=4, by="uniform")
    with torch.random.fork_rng():
        encoder = SASRec(embedding_dim=E, max_len=L)
        model = Recommender(IdEmbedding(ITEMS, embedding_dim=E), encoder, criterion=loss)
    with torch.no_grad():
        model.item_encoder.table.weight.zero_()  # type: ignore[union-attr, operator]
        value = float(model(batches(sequences, loss).batch(sequences[:32])))
    beta = getattr(loss, "exponent", 0)
    expected = {"bce": 5, "gbce": (beta + 4) / 5, "bpr": 1}[name] * math.log(2)
    assert value == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize(
    ("data", "low", "high"), [(circle, 0.95, 1.0), (noise, 0.0, 0.3)], ids=["circle", "noise"]
)
def test_a_circle_is_learnt_and_nothing_of_noise(
    name: str, data: Callable[[int], Any], low: float, high: float
) -> None:
    """The items of a history are never its negatives, so they are masked in ranking."""
    sequences = data(0)
    loss = KINDS[name](splits_of(sequences), count=4, by="uniform")
    with torch.random.fork_rng():
        torch.manual_seed(0)
        encoder = SASRec(embedding_dim=E, max_len=L, blocks=1, dropout=0.0)
    model = train_model(encoder, sequences, epochs=12, loss=loss)
    assert low <= first_hit_share(model, data(1), mask_history=True) <= high


def test_a_run_with_a_loss_of_the_table(dataset: Path, tmp_path: Path) -> None:
    """120 users walk along 60 items. Chance is 1/6."""
    words = ["--config=id", f"--data={dataset}", f"--output={tmp_path / 'run'}", "--train.loss=gbce",
             "--train.negatives_per_target=16", "--train.loss_settings.t=0.5", "--train.epochs=8",
             "--sequence.kind=gru4rec", "--sequence.max_len=5", "--train.batch_size=16",
             "--train.rates.base=0.01", "--train.initial_std=0", "--train.trackers=[]"]  # fmt: skip
    assert train(parse_run_config(words))["metrics"]["HR@10"]["value"] > 0.5


def full_window(by: str) -> Callable[[], Any]:
    """Every item is in the only sequence."""
    sequences = np.arange(1, ITEMS + 1, dtype=np.int32)[None]
    return lambda: NegativeSampler(splits_of(sequences), count=1, by=by)  # type: ignore[arg-type]


def test_sequences_are_checked_in_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """The full sequence is the fourth, and the second of its block."""
    monkeypatch.setattr(negatives, "_ROWS_AT_ONCE", 2)
    sequences = np.zeros((5, ITEMS), dtype=np.int32)
    sequences[:, -1] = 1
    NegativeSampler(splits_of(sequences), count=1, by="uniform")
    sequences[3] = np.arange(1, ITEMS + 1)
    with pytest.raises(UserError, match="sequence of user 'u3' contains every item"):
        NegativeSampler(splits_of(sequences), count=1, by="uniform")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (full_window("uniform"), "sampled_by uniform: the training sequence of user 'u0' contains every item"),
        (full_window("popularity"), "sampled_by popularity: .* use --train.loss full"),
        (lambda: GBCE(splits_of(circle(0)), count=1, by="uniform", t=1.5), "t is 1.5; gbce expects a number from 0 to 1"),
        (lambda: GBCE(splits_of(circle(0)), count=1, by="uniform", t=True), "t is True"),
        (lambda: parse_run_config(["--data=D", "--output=O", "--train.negatives_per_target=0"]),
         "train.negatives_per_target is 0; it must be at least 1"),
        (lambda: parse_run_config(["--data=D", "--output=O", "--train.loss=bcee"]), "did you mean bce"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_refused(make: Callable[[], Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        make()


def test_a_batch_without_negatives_is_refused() -> None:
    states, table, batch = rows_of(2, 1, torch.ones(2))
    without = LossInputs(**{**vars(batch), "negatives": None})
    with pytest.raises(ValueError, match="requires negatives for each row"):
        BPR(splits_of(circle(0)), count=1, by="uniform")(states, table, without)


def test_every_loss_with_negatives_is_tested() -> None:
    assert {n for n, kind in LOSSES.items() if "negatives_per_target" in kind.reads.values()} == {
        *KINDS
    }
