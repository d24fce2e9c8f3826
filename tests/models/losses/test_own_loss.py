"""A loss from outside the package is named on the command line, trained with, and not needed to load the model."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from own_loss import BCE, KIND
from tiny_dataset import ITEMS

import models
from models import IdEmbedding, Recommender, SASRec
from models.config import load_run_config, parse_run_config
from models.evaluate import evaluate
from models.inputs.batches import Batches
from models.inputs.features import ItemNumbers
from models.losses import LOSSES
from models.losses.objectives import next_item
from models.train import train
from toolkit import UserError, open_dataset
from toolkit.splits import Splits


@pytest.fixture
def registered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(LOSSES, "own-bce", KIND)


@pytest.fixture(scope="module")
def splits(dataset: Path) -> Splits:
    return open_dataset(dataset).splits(max_len=5)


def model() -> Recommender:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return Recommender(IdEmbedding(ITEMS, embedding_dim=8), SASRec(embedding_dim=8, max_len=5))


def batches(splits: Splits, **options: object) -> Batches:
    loss = BCE(splits, negatives=3)
    return Batches(splits, ItemNumbers(ITEMS), batch_size=16, seed=1, loss=loss, **options)  # type: ignore[arg-type]


def test_its_value_and_gradients_are_those_of_the_equation(splits: Splits) -> None:
    """Position by position, with numbers."""
    laid, net = batches(splits), model().eval()
    net.criterion = laid.loss
    sequences = splits.train[:16]
    loss = net(laid.batch(sequences, seed=(7,)))
    drawn = laid.loss.columns(next_item(sequences), (7, 0)).negatives
    assert drawn is not None
    table = net.encode_items({"id": torch.arange(ITEMS + 1)})
    ids = torch.from_numpy(sequences.astype(np.int64))
    users = net.encode_sequences(table[ids[:, :-1]], ids[:, :-1] != 0)
    terms, row = [], 0
    for user, sequence in enumerate(sequences.tolist()):
        for position in range(len(sequence) - 1):
            if sequence[position] == 0:
                continue
            assert not set(drawn[row].tolist()) & set(sequence)
            state = users[user, position]
            term = -torch.sigmoid(state @ table[sequence[position + 1]]).log()
            for negative in drawn[row].tolist():
                term = term - (1 - torch.sigmoid(state @ table[negative])).log()
            terms.append(term)
            row += 1
    expected = torch.stack(terms).mean()
    torch.testing.assert_close(loss, expected)
    parameters = list(net.parameters())
    ours = torch.autograd.grad(loss, parameters)
    for one, other in zip(ours, torch.autograd.grad(expected, parameters), strict=True):
        torch.testing.assert_close(one, other, atol=1e-6, rtol=1e-4)


def test_equal_scores_cost_the_log_of_two_each(splits: Splits) -> None:
    laid, net = batches(splits), model()
    net.criterion = laid.loss
    with torch.no_grad():
        for parameter in net.item_encoder.parameters():
            parameter.zero_()
        loss = net(laid.batch(splits.train[:8]))
    assert float(loss) == pytest.approx(4 * math.log(2))


def test_fixed_sizes_change_neither_its_loss_nor_its_gradients(splits: Splits) -> None:
    found = []
    for fixed_sizes in (False, True):
        laid, net = batches(splits, fixed_sizes=fixed_sizes), model().eval()
        net.criterion = laid.loss
        batch = list(laid.epoch(1))[-1]  # smaller than the others, and filled up
        loss = net(batch)
        loss.backward()
        found.append([loss, *(p.grad for p in net.parameters())])
    assert len(batch.rows) == 16 * 5 and batch.negatives is not None
    assert batch.negatives.shape == (16 * 5, 3)
    for plain, fixed in zip(*found, strict=True):
        torch.testing.assert_close(plain, fixed, atol=1e-6, rtol=1e-4)


def test_global_negatives_are_those_of_one_process(splits: Splits) -> None:
    """Each process reads its own rows of the negatives that all drew together."""
    sequences = splits.train[:12]
    joined = next_item(sequences)
    drawn = batches(splits).loss.columns(joined, (5,)).negatives
    assert drawn is not None
    for rank in (0, 1):
        laid = batches(splits, negatives="global", rank=rank, world=2)
        columns = laid.loss.columns(joined, (5,)).items
        batch = laid.batch(sequences, seed=(5,))
        assert batch.negatives is not None
        rows = joined.sequence_of_rows() % 2 == rank
        assert (columns[batch.negatives - 1] == drawn[rows]).all()


@pytest.mark.usefixtures("registered")
def test_it_is_trained_saved_loaded_and_evaluated(dataset: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    words = ["--config=id", f"--data={dataset}", f"--output={run}", "--train.loss=own-bce",
             "--train.loss_settings={negatives: 3}", "--sequence.max_len=5", "--train.epochs=8",
             "--train.batch_size=16", "--train.rates.base=0.01", "--train.trackers=[]"]  # fmt: skip
    report = train(parse_run_config(words))
    assert report["metrics"]["HR@10"]["value"] > 0.6  # of 60 items: chance is 1/6
    del LOSSES["own-bce"]  # another process, which does not know the loss
    assert load_run_config(run / "config.yaml").train.loss_settings == {"negatives": 3}
    trained = models.load(run)
    assert evaluate(run) == json.loads((run / "metrics" / "test.json").read_text())
    assert trained.recommend([["i1", "i2", "i3"]], k=3).num_rows == 3
    with pytest.raises(UserError, match=r"train\.loss: Expected one of .*'bpr', got 'own-bce'"):
        train(parse_run_config(words))


@pytest.mark.usefixtures("registered")
@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--train.loss=own-bce", "--train.loss_settings={negative: 3}"],
         r"train\.loss_settings: train\.loss own-bce .*unexpected keyword argument 'negative'"),
        (["--train.loss=sampled", "--train.loss_settings={count: 3}"],
         r"train\.loss_settings: train\.loss sampled .*multiple values .*'count'"),
    ],
)  # fmt: skip
def test_settings_that_a_loss_does_not_take_are_named(
    dataset: Path, tmp_path: Path, words: list[str], message: str
) -> None:
    where = [f"--data={dataset}", f"--output={tmp_path / 'run'}", "--train.trackers=[]"]
    with pytest.raises(UserError, match=message):
        train(parse_run_config(["--config=id", *where, *words]))
