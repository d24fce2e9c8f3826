"""The gradient cache: gradients of chunks that are encoded again equal those of chunks that are kept in the graph."""

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import forked
import pytest
import torch
from cache_work import gradients as gradients_of_two
from tiny_dataset import ITEMS, walks, write_dataset
from torch import Tensor, nn

from models.build import build, make_features
from models.config import parse_run_config
from models.inputs.batches import Batches
from models.machine.recompute import Chunks, encode_in_chunks
from models.recommender import Recommender
from toolkit import open_dataset


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_dataset(tmp_path_factory.mktemp("cache") / "data", walks(), items=ITEMS)


def prepared(
    data: Path, tiny_bert: Path, *more: str, items_at_once: int
) -> tuple[Recommender, Any]:
    """A fresh model with dropout, and its first batch."""
    words = ["--item=encoders", "--towers=[title]", f"--encoders.title.encoder={tiny_bert}", f"--data={data}",
             "--output=out", "--side.embedding_dim=16", "--items.layers=1", "--encoders.title.dropout=0.2",
             "--sequence.max_len=5"]  # fmt: skip
    config = parse_run_config([*words, *more])
    dataset = open_dataset(data)
    torch.manual_seed(1)
    model = build(config, dataset).train()
    features = make_features(config, dataset, item_encoder=model.item_encoder)
    batches = Batches(
        dataset.splits(max_len=5), features, batch_size=8, seed=1, items_at_once=items_at_once
    )
    return model, next(batches.epoch(1))


def gradients(model: nn.Module, loss: Callable[[], Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
    model.zero_grad()
    torch.manual_seed(7)
    value = loss()
    value.backward()
    after = torch.rand(1)  # the random state goes on as it would
    grads = {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}
    return torch.cat([value.detach()[None], after]), grads


def assert_equal(ours: Any, theirs: Any, *, relative: float = 1e-6) -> None:
    assert torch.equal(ours[0], theirs[0])
    assert ours[1].keys() == theirs[1].keys()
    largest = max(float(grad.abs().max()) for grad in theirs[1].values())
    for name, grad in theirs[1].items():
        error = float((ours[1][name] - grad).norm())
        assert error <= max(relative * float(grad.norm()), 1e-9 * largest), name


@pytest.mark.parametrize("size", [1, 7, 1000])
@pytest.mark.parametrize("checkpointing", [False, True])
@pytest.mark.parametrize("adapt", ["full", "top-1"])
def test_gradients_with_dropout_are_those_of_the_same_chunks_in_the_graph(
    data: Path, tiny_bert: Path, size: int, checkpointing: bool, adapt: str
) -> None:
    model, batch = prepared(data, tiny_bert, f"--adapt={adapt}", items_at_once=size)
    if checkpointing:
        model.item_encoder.checkpoint_activations()
    chunks = batch.features
    assert isinstance(chunks, Chunks) and len(chunks.parts) == -(-len(batch.items) // size)
    plain = copy.copy(model)
    plain.encode_items = lambda chunks: torch.cat([model.item_encoder(x) for x in chunks.parts])  # type: ignore[method-assign]
    cached = gradients(model, lambda: model(batch))
    assert_equal(cached, gradients(model, lambda: plain(batch)))
    model.item_encoder.check_gradients()
    other = gradients(model, lambda: model(batch))
    assert_equal(other, cached)
    torch.manual_seed(8)
    assert not torch.equal(model(batch).detach(), cached[0][0])  # dropout is on


def test_gradients_in_bfloat16_are_close_to_those_in_the_graph(data: Path, tiny_bert: Path) -> None:
    """Not equal: in the graph, the gradients of chunks are added up in bfloat16."""
    model, batch = prepared(data, tiny_bert, items_at_once=7)
    plain = copy.copy(model)
    plain.encode_items = lambda chunks: torch.cat([model.item_encoder(x) for x in chunks.parts])  # type: ignore[method-assign]

    def mixed(of: nn.Module) -> Callable[[], Tensor]:
        def loss() -> Tensor:
            with torch.autocast("cpu", torch.bfloat16):
                return of(batch)

        return loss

    cached, graph = gradients(model, mixed(model)), gradients(model, mixed(plain))
    assert torch.equal(cached[0], graph[0])  # the loss, and what is drawn next
    for name, gradient in graph[1].items():
        error = float((cached[1][name] - gradient).norm())
        assert error <= 0.03 * float(gradient.norm()) + 1e-5, name
    whole = gradients(model, lambda: model(batch))
    assert not torch.equal(whole[0], cached[0])


def test_only_one_chunk_has_a_graph_at_a_time() -> None:
    alive, most = 0, 0

    class Counting(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Tensor) -> Tensor:
            nonlocal alive, most
            if x.requires_grad and torch.is_grad_enabled() is False and recording:
                alive += 1
                most = max(most, alive)
            return x.clone()

        @staticmethod
        def backward(ctx: Any, gradient: Tensor) -> Tensor:
            nonlocal alive
            alive -= 1
            return gradient

    class Encoder(nn.Linear):
        def forward(self, x: Tensor) -> Tensor:
            return Counting.apply(super().forward(x))

    recording = False
    encoder = Encoder(3, 2)
    chunks = Chunks(tuple(torch.randn(20, 3).split(4)))
    encoded = encode_in_chunks(encoder, chunks)
    recording = True
    encoded.square().sum().backward()
    assert (alive, most) == (0, 1)


def test_without_gradients_chunks_are_encoded_as_they_are() -> None:
    encoder = nn.Linear(3, 2)
    x = torch.randn(5, 3)
    with torch.no_grad():
        encoded = encode_in_chunks(encoder, Chunks(tuple(x.split(2))))
    assert torch.allclose(encoded, encoder(x)) and not encoded.requires_grad
    encoder.requires_grad_(False)
    assert not encode_in_chunks(encoder, Chunks((x,))).requires_grad


def test_gradients_of_two_processes_are_those_of_a_plain_step(tmp_path: Path) -> None:
    forked.call_two(gradients_of_two, str(tmp_path / "meeting"), str(tmp_path / "out"))
    plain, cached, again = torch.load(tmp_path / "out")
    for name, gradient in plain.items():
        for other in (cached, again):
            assert (other[name] - gradient).norm() <= 1e-6 * gradient.norm(), name
