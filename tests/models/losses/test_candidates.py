"""Loss columns: `full` equals torch's cross-entropy, a sample of all items equals `full`, samples are unbiased."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from tiny_dataset import ITEMS
from torch import Tensor

from models import IdEmbedding, Recommender, SASRec
from models.build import choose_loss
from models.config import RunConfig, TrainConfig
from models.inputs.batches import Batches
from models.inputs.features import ItemNumbers
from models.losses.candidates import Full, InBatch, Sampled
from models.losses.loss import Loss
from models.losses.objectives import next_item
from models.losses.softmax import softmax_loss
from toolkit import UserError, open_dataset
from toolkit.splits import Splits

N = 30


def splits(seed: int = 0) -> Splits:
    """Random left-padded sequences over items 1..28; 29 is in the catalogue alone, 30 not even there."""
    rng = np.random.default_rng(seed)
    train = rng.integers(1, 29, size=(9, 7)).astype(np.int32)
    for row, padding in enumerate(rng.integers(0, 6, size=9)):
        train[row, :padding] = 0
    counts = np.bincount(train.ravel(), minlength=N + 1)
    counts[0] = 0
    catalogue = np.arange(1, N, dtype=np.int32)
    return SimpleNamespace(train=train, train_times=None, train_counts=counts, catalogue=catalogue)  # type: ignore[return-value]


def model() -> Recommender:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return Recommender(IdEmbedding(N, embedding_dim=8), SASRec(embedding_dim=8, max_len=6))


def loss_and_gradients(loss: Loss, data: Splits) -> list[Tensor]:
    """Of one batch of everybody, without dropout."""
    batches = Batches(data, ItemNumbers(N), batch_size=99, seed=0, loss=loss)
    net = model().eval()
    value = net(batches.batch(data.train))
    value.backward()
    return [value.detach(), *(p.grad for p in net.parameters() if p.grad is not None)]


def test_full_is_the_cross_entropy_over_all_items() -> None:
    data = splits()
    net = model().eval()
    ids = torch.from_numpy(data.train.astype(np.int64))
    table = net.encode_items({"id": torch.arange(N + 1)})
    users = net.encode_sequences(F.embedding(ids[:, :-1], table), ids[:, :-1] != 0)
    real = ids[:, :-1] != 0
    scores = users[real] @ table[1:N].T  # the catalogue: 1..29
    expected = F.cross_entropy(scores, ids[:, 1:][real] - 1)
    expected.backward()
    gradients = [p.grad for p in net.parameters() if p.grad is not None]
    ours = loss_and_gradients(Full(data), data)
    for a, b in zip(ours, [expected.detach(), *gradients], strict=True):
        torch.testing.assert_close(a, b, atol=1e-6, rtol=1e-5)


def test_a_sample_of_all_items_is_full() -> None:
    data = splits(1)
    everything = Sampled(data, count=N - 1, by="uniform")
    sampled, full = (loss_and_gradients(c, data) for c in (everything, Full(data)))
    for a, b in zip(sampled, full, strict=True):
        torch.testing.assert_close(a, b)


@pytest.mark.parametrize("by", ["uniform", "popularity"])
def test_the_expected_weight_of_an_item_is_one(by: str) -> None:
    """count · exp(bias) estimates 1 for each item that can be drawn, so that the sum of exp(logits) is unbiased."""
    data = splits()
    sampled = Sampled(data, count=10, by=by)  # type: ignore[arg-type]
    examples = next_item(data.train)
    weights = np.zeros((4000, N + 1))
    for draw in range(len(weights)):
        columns = sampled.columns(examples, (0, draw))
        weights[draw, columns.items] = columns.counts * np.exp(columns.bias)
    drawable = data.catalogue if by == "uniform" else np.flatnonzero(data.train_counts)
    error = weights.std(axis=0)[drawable] / len(weights) ** 0.5
    assert np.abs(weights.mean(axis=0)[drawable] - 1).max() < 4.5 * error.max()
    assert not np.delete(weights, drawable, axis=1).any()


def test_a_target_that_is_drawn_counts_once() -> None:
    # All logits 0: the target, and a negative that counts 3 times, whatever the target's own count is.
    states, items, targets = torch.zeros(1, 4), torch.zeros(3, 4), torch.tensor([2])
    for drawn in (0.0, 1.0, 5.0):
        counts = torch.tensor([0.0, 3.0, drawn]).log()
        loss = softmax_loss(
            states,
            items,
            targets,
            weights=torch.ones(1),
            bias=torch.zeros(3),
            log_counts=counts,
        )
        assert float(loss) == pytest.approx(np.log(1 + 3))


def test_what_is_drawn_is_a_function_of_seed_epoch_and_step(dataset: Path) -> None:
    data = open_dataset(dataset).splits(max_len=5)

    def drawn(seed: int, epoch: int, first: int = 0) -> list[list[int]]:
        sampled = Sampled(data, count=8, by="uniform")
        batches = Batches(
            data, ItemNumbers(ITEMS), batch_size=32, seed=seed, loss=sampled, device="cpu"
        )
        return [
            batch.items[torch.isfinite(batch.log_counts[1:])].tolist()
            for batch in batches.epoch(epoch, first=first)
        ]

    whole = drawn(1, 1)
    assert [len(step) for step in whole] == [8] * 4
    assert drawn(1, 1, first=2) == whole[2:]
    assert whole != drawn(2, 1) and whole != drawn(1, 2)
    assert len({tuple(step) for step in whole}) == 4


def test_more_uniform_samples_than_items_are_refused() -> None:
    with pytest.raises(UserError, match=r"sampled_items is 30, but the catalogue has 29 items"):
        Sampled(splits(), count=30, by="uniform")


def test_full_refuses_content_beyond_its_limit() -> None:
    def chosen(item: str, limit: int) -> type:
        config = RunConfig("", "", train=TrainConfig(loss="full", full_limit=limit), item=item)  # type: ignore[arg-type]
        return type(choose_loss(config, splits()))

    assert chosen("id", 1) is chosen("side-network", 29) is Full
    with pytest.raises(UserError, match=r"full encodes all 29 items .* \(28\); use .* sampled"):
        chosen("side-network", 28)


def test_the_default_is_the_batch() -> None:
    config = RunConfig("", "")
    assert type(choose_loss(config, splits())) is InBatch
