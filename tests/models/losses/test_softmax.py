"""The loss against its definition, summed over single occurrences."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from models import IdEmbedding, Recommender, SASRec
from models.inputs.batches import Batches
from models.inputs.features import ItemNumbers
from models.losses.candidates import log_popularity
from models.losses.softmax import CHUNK_BYTES, TILE_COLUMNS, in_batch_loss, softmax_loss


def slow_loss(users: Tensor, items: Tensor, ids: Tensor, log_popularity: Tensor) -> Tensor:
    """Every occurrence a column, as in the public code's definition."""
    batch, width = ids.shape
    terms = []
    for b in range(batch):
        own = set(ids[b].tolist())
        for position in range(width - 1):
            if ids[b, position] == 0:
                continue
            logits = []
            for other in range(batch):
                for column in range(width):
                    item = int(ids[other, column])
                    is_target = other == b and column == position + 1
                    if is_target:
                        label = len(logits)
                    masked = item == 0 or (item in own and not is_target)
                    value = users[b, position] @ items[item] - log_popularity[item]
                    logits.append(torch.tensor(-1e4) if masked else value)
            terms.append(torch.logsumexp(torch.stack(logits), 0) - logits[label])
    return torch.stack(terms).mean()


def random_batch(seed: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    rng = torch.Generator().manual_seed(seed)
    ids = torch.randint(1, 12, (5, 7), generator=rng)  # few items: repeats inside and across
    for row, padding in enumerate([0, 2, 5, 3, 0]):
        ids[row, :padding] = 0
    users = torch.randn(5, 6, 8, generator=rng)
    items = torch.randn(12, 8, generator=rng)
    log_popularity = torch.rand(12, generator=rng).log()
    return users.requires_grad_(), items.requires_grad_(), ids, log_popularity


@pytest.mark.parametrize("seed", range(5))
def test_value_and_gradients_equal_the_definition(seed: int) -> None:
    users, items, ids, log_popularity = random_batch(seed)
    ours = in_batch_loss(users, items, ids, log_popularity)
    ours_gradients = torch.autograd.grad(ours, [users, items])
    slow = slow_loss(users, items, ids, log_popularity)
    slow_gradients = torch.autograd.grad(slow, [users, items])
    torch.testing.assert_close(ours, slow)
    for a, b in zip(ours_gradients, slow_gradients, strict=True):
        torch.testing.assert_close(a, b, atol=1e-5, rtol=1e-4)


def test_an_item_that_occurs_twice_counts_twice() -> None:
    # Two users; with all scores and popularities equal, the loss is log of 1 + other occurrences.
    ids = torch.tensor([[1, 2], [3, 3]])
    loss = in_batch_loss(torch.zeros(2, 1, 4), torch.zeros(4, 4), ids, torch.zeros(4))
    assert float(loss) == pytest.approx((math.log(1 + 2) + math.log(1 + 2)) / 2)


def test_popularity_is_taken_off() -> None:
    ids = torch.tensor([[1, 2], [3, 4]])
    popularity = torch.tensor([1.0, 0.25, 0.5, 0.125, 0.125])
    loss = in_batch_loss(torch.zeros(2, 1, 4), torch.zeros(5, 4), ids, popularity.log())
    first = -math.log((1 / 0.5) / (1 / 0.5 + 1 / 0.125 + 1 / 0.125))
    second = -math.log((1 / 0.125) / (1 / 0.125 + 1 / 0.25 + 1 / 0.5))
    assert float(loss) == pytest.approx((first + second) / 2)


def test_encoding_unique_items_equals_encoding_every_occurrence() -> None:
    torch.manual_seed(0)
    model = Recommender(IdEmbedding(30, embedding_dim=8), SASRec(embedding_dim=8, max_len=6)).eval()
    rng = np.random.default_rng(0)
    sequences = rng.integers(0, 31, size=(9, 7)).astype(np.int32)
    sequences[:, 0] = 0

    class Splits:
        train_times = None
        train = sequences
        train_counts = np.bincount(sequences.ravel(), minlength=31)

    batches = Batches(Splits, ItemNumbers(30), batch_size=9, seed=0)  # type: ignore[arg-type]
    batch = batches.batch(sequences)
    assert len(batch.items) == len(set(sequences.ravel().tolist()) - {0})
    everything = model.encode_items({"id": torch.arange(31)})
    ids = torch.from_numpy(sequences.astype(np.int64))
    popularity = torch.from_numpy(log_popularity(Splits.train_counts))
    torch.testing.assert_close(model(batch), model.loss(ids, everything, popularity))


@pytest.mark.parametrize(("rows", "columns"), [(1, 12), (3, 5), (1000, 5), (1000, 1), (1000, 512)])
def test_value_and_gradients_do_not_depend_on_chunk_and_tile(
    monkeypatch: pytest.MonkeyPatch, rows: int, columns: int
) -> None:
    users, items, ids, log_popularity = random_batch(3)
    whole = in_batch_loss(users, items, ids, log_popularity)
    gradients = torch.autograd.grad(whole, [users, items])
    monkeypatch.setitem(CHUNK_BYTES, "cpu", rows * 4 * len(items))
    monkeypatch.setitem(TILE_COLUMNS, "cpu", columns)
    chunked = in_batch_loss(users, items, ids, log_popularity)
    torch.testing.assert_close(chunked, whole)
    for a, b in zip(torch.autograd.grad(chunked, [users, items]), gradients, strict=True):
        torch.testing.assert_close(a, b)


def test_what_is_kept_for_the_backward_pass_is_linear_in_the_batch() -> None:
    """Twice the batch and twice the items keep about twice as much, not four times."""
    kept = []
    for size in (32, 64):
        generator = torch.Generator().manual_seed(0)
        users = torch.randn(size, 6, 8, generator=generator, requires_grad=True)
        items = torch.randn(size * 6, 8, generator=generator, requires_grad=True)
        ids = torch.randint(1, size * 6, (size, 7), generator=generator)
        sizes: list[int] = []

        def note(tensor: Tensor, sizes: list[int] = sizes) -> Tensor:
            sizes.append(tensor.numel())
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
            in_batch_loss(users, items, ids, torch.zeros(size * 6))
        kept.append(sum(sizes))
    assert kept[1] < 2.1 * kept[0]


def test_the_gradient_of_a_scaled_loss_is_scaled() -> None:
    users, items, ids, log_popularity = random_batch(1)
    plain = torch.autograd.grad(in_batch_loss(users, items, ids, log_popularity), [users, items])
    scaled = torch.autograd.grad(
        1000 * in_batch_loss(users, items, ids, log_popularity), [users, items]
    )
    for a, b in zip(plain, scaled, strict=True):
        torch.testing.assert_close(1000 * a, b)


def test_distant_logits_neither_overflow_nor_vanish() -> None:
    """A target 1,000 above or below all other logits: the loss is 0, or the distance."""
    items, states = torch.zeros(1000, 2), torch.tensor([[1.0, 0.0], [0.0, 1.0]], requires_grad=True)
    items[700] = torch.tensor([1000.0, -1000.0])
    counts = torch.zeros(1000)
    counts[1:3] = -torch.inf
    loss = softmax_loss(
        states,
        items,
        torch.tensor([700, 700]),
        weights=torch.ones(2),
        bias=torch.zeros(1000),
        log_counts=counts,
    )
    assert float(loss.detach()) == pytest.approx(1000 + math.log(997))
    (gradient,) = torch.autograd.grad(loss, states)
    torch.testing.assert_close(gradient, torch.tensor([[0.0, 0.0], [-1000.0, 1000.0]]))
