"""Losses over scores that are no dot products: equal to those of dot products where scores are, and in chunks."""

from typing import Any

import pytest
import torch
from sequence_data import circle, splits_of
from torch import Tensor

from models.inputs.indices import loss_arrays
from models.losses import LOSSES, pairwise, softmax
from models.losses.loss import Loss, LossInputs, Scores
from models.losses.objectives import next_item

E = 5
SETTINGS: dict[str, dict[str, Any]] = {
    "in-batch": {},
    "full": {},
    "sampled": {"count": 5, "by": "popularity"},
    "bce": {"count": 3, "by": "uniform"},
    "gbce": {"count": 3, "by": "uniform"},
    "bpr": {"count": 3, "by": "uniform"},
}
dot_products = Scores(lambda users, items: users @ items.mT)
cubic = Scores(lambda users, items: ((users[..., :, None, :] * items[..., None, :, :]) ** 3).sum(-1), E)  # fmt: skip


def drawn(name: str) -> tuple[Loss, Tensor, Tensor, LossInputs]:
    """A loss, and random states, table and batch."""
    sequences = circle(0)[:9]
    loss = LOSSES[name].make(splits_of(sequences), **SETTINGS[name])
    examples = next_item(sequences)
    columns = loss.columns(examples, (1,))
    arrays = loss_arrays(examples, columns, weight=1 / len(examples.rows), fixed_sizes=False)
    batch = LossInputs(**{key: torch.from_numpy(array) for key, array in arrays.items()})
    generator = torch.Generator().manual_seed(0)
    states = torch.randn(len(batch.rows), E, generator=generator).requires_grad_(True)
    table = torch.randn(len(batch.bias), E, generator=generator).requires_grad_(True)
    return loss, states, table, batch


def value_and_gradients(name: str, **given: Any) -> list[Tensor]:
    loss, states, table, batch = drawn(name)
    value = loss(states, table, batch, **given)
    return [value, *torch.autograd.grad(value, [states, table])]


def assert_same(first: list[Tensor], second: list[Tensor]) -> None:
    for mine, theirs in zip(first, second, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-5, atol=1e-6)


def test_every_loss_is_tested() -> None:
    built_in = {name for name, kind in LOSSES.items() if kind.make.__module__.startswith("models.")}
    assert built_in == SETTINGS.keys()  # other tests register losses of their own


@pytest.mark.parametrize("name", SETTINGS)
def test_dot_products_as_scores_change_nothing(name: str) -> None:
    assert_same(value_and_gradients(name), value_and_gradients(name, scores=dot_products))


@pytest.mark.parametrize("name", SETTINGS)
def test_chunks_change_nothing(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = value_and_gradients(name, scores=cubic)
    assert (value_and_gradients(name)[0] - whole[0]).abs() > 1e-2
    shapes = []

    def watched(users: Tensor, items: Tensor) -> Tensor:
        shapes.append(users.shape[0])
        return cubic.compute(users, items)

    monkeypatch.setitem(softmax.CHUNK_BYTES, "cpu", 4 * 13 * E * 4)
    monkeypatch.setattr(pairwise, "CHUNK_BYTES", 4 * 3 * 2 * E * 4)
    assert_same(whole, value_and_gradients(name, scores=Scores(watched, E)))
    rows = len(drawn(name)[3].rows)
    # Pairwise losses score the targets of all rows at once; all else is in chunks of at most 4 rows.
    assert rows > 8 and all(size <= 4 for size in shapes if size != rows)
    assert sum(size != rows for size in shapes) > 2 * rows // 4


def test_no_more_logits_are_kept_than_a_chunk_has(monkeypatch: pytest.MonkeyPatch) -> None:
    """Between the forward and the backward pass nothing of the size of rows by columns is saved."""
    monkeypatch.setitem(softmax.CHUNK_BYTES, "cpu", 4 * 13 * E * 4)
    loss, states, table, batch = drawn("full")
    kept: list[int] = []
    with torch.autograd.graph.saved_tensors_hooks(lambda x: kept.append(x.numel()) or x, lambda x: x):  # fmt: skip
        loss(states, table, batch, scores=cubic)
    assert max(kept) < len(states) * len(table)
