"""A step with fixed sizes, CUDA graphs or compilation equals the plain step."""

import json
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from torch import Tensor

from models.config import RunConfig, parse_run_config
from models.inputs.batches import Batches
from models.inputs.indices import SIZES
from models.losses.candidates import Full, Sampled
from models.losses.loss import Loss
from models.prepare import Training, prepare
from models.schedule import rate_factor
from models.train import train
from models.training.optimizer import make_optimizer, set_rates
from models.training.step import GraphStep, Step
from toolkit import UserError

CUDA = torch.cuda.is_available()


def settings(dataset: Path, *more: str) -> RunConfig:
    words = ["--config=raw-image", f"--data={dataset}", "--output=none", "--sequence.max_len=5"]
    words += ["--side.embedding_dim=16", "--train.batch_size=16", "--sequence.dropout=0"]
    return parse_run_config([*words, *more])


def prepared(config: RunConfig) -> Training:
    with torch.random.fork_rng():
        return prepare(config, Accelerator(cpu=True))


def pretended(work: Callable[[], Tensor]) -> tuple[Callable[[], None], Tensor]:
    """Records as a GPU does, without one: nothing is computed until the replay, which reads what lies where it lay."""
    result = torch.full((), torch.nan)

    def replay() -> None:
        result.copy_(work())

    return replay, result


def losses_of(training: Training, step: Step | GraphStep, *, epochs: int = 2) -> list[float]:
    batches = training.batches
    return [float(step(batch)) for epoch in range(1, epochs + 1) for batch in batches.epoch(epoch)]


@pytest.mark.parametrize("candidates", ["in-batch", "full", "sampled"])
def test_fixed_sizes_change_neither_loss_nor_gradient(dataset: Path, candidates: str) -> None:
    training = prepared(settings(dataset))
    splits = training.splits
    chosen: dict[str, Loss | None] = {
        "in-batch": None,
        "full": Full(splits),
        "sampled": Sampled(splits, count=9, by="uniform"),
    }
    plain, fixed = (
        Batches(
            splits, training.features, batch_size=16, seed=1, loss=chosen[candidates], fixed_sizes=fixed
        )
        for fixed in (False, True)
    )  # fmt: skip
    sizes = set()
    for one, other in zip(plain.epoch(1), fixed.epoch(1), strict=True):
        sizes.add((tuple(other.inputs.shape), len(other.rows), len(other.bias) - 1))
        found = []
        for batch in (one, other):
            training.model.zero_grad()
            loss = training.model(batch)
            loss.backward()
            found.append([loss, *(p.grad for p in training.model.parameters())])
        for a, b in zip(*found, strict=True):
            torch.testing.assert_close(a, b, atol=1e-6, rtol=1e-4)
    assert len(plain) * 16 > len(splits.train)  # the last batch is smaller, and filled up
    assert {(rows, columns) for (rows, columns), *_ in sizes} == {(16, 5)}
    assert {rows for _, rows, _ in sizes} == {16 * 5}
    assert all(columns % SIZES == 0 for *_, columns in sizes)


def test_a_recorded_step_is_the_step(dataset: Path) -> None:
    config = settings(dataset, "--train.clip_norm=0.5")
    found = []
    for recorded in (False, True):
        training = prepared(config)
        training.batches.fixed_sizes = True
        step = training.step
        assert isinstance(step, Step)
        losses = losses_of(training, GraphStep(step, pretended) if recorded else step)
        found.append((losses, training.model.state_dict()))
    (losses, weights), (replayed, others) = found
    assert replayed == losses and len(set(losses)) == len(losses)
    for name, value in weights.items():
        assert torch.equal(value, others[name]), name


def test_each_size_is_recorded_once_and_only_at_its_second_batch(dataset: Path) -> None:
    training = prepared(settings(dataset))
    training.batches.fixed_sizes = True
    recorded = 0

    def counted(work: Callable[[], Tensor]) -> tuple[Callable[[], None], Tensor]:
        nonlocal recorded
        recorded += 1
        return pretended(work)

    assert isinstance(training.step, Step)
    step = GraphStep(training.step, counted)
    batches = list(training.batches.epoch(1))
    sizes = {tuple(batch.bias.shape) for batch in batches}
    for batch in batches[:1]:
        step(batch)
    assert recorded == 0
    for batch in batches * 3:
        step(batch)
    assert recorded == len(sizes)
    with pytest.raises(ValueError, match="gradients cannot be accumulated"):
        step(batches[0], is_update=False)


def test_a_recorded_step_reads_its_rates_where_they_lie() -> None:
    """Another rate between two replays: they are tensors that the record holds, not numbers that it was made with."""
    parameter = torch.nn.Linear(2, 1)
    optimizer = make_optimizer(parameter, rates={"base": 0.1}, capturable=True)
    before = [group["lr"] for group in optimizer.param_groups]
    set_rates(optimizer, rate_factor(0, total=10, warmup=2, schedule="linear"))
    for group, rate in zip(optimizer.param_groups, before, strict=True):
        assert group["lr"] is rate and float(rate) == pytest.approx(group["rate"] / 2)


@pytest.mark.skipif(CUDA, reason="has a GPU")
def test_graphs_without_a_gpu_are_refused(dataset: Path) -> None:
    with pytest.raises(UserError, match=r"train\.cuda_graphs requires a GPU; leave out"):
        prepared(settings(dataset, "--train.cuda_graphs=true"))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*:DeprecationWarning", "ignore:.*:UserWarning")
@pytest.mark.skipif(sys.platform != "linux", reason="needs a C++ compiler")
def test_a_compiled_run_has_the_losses_of_the_plain_one(dataset: Path) -> None:
    found = []
    for compiled in (False, True):
        training = prepared(settings(dataset, f"--train.compile={str(compiled).lower()}"))
        found.append(losses_of(training, training.step, epochs=1))
    np.testing.assert_allclose(found[1], found[0], rtol=1e-5)


@pytest.mark.skipif(not CUDA, reason="needs a GPU")
@pytest.mark.parametrize("precision", ["no", "bf16"])
def test_a_run_on_a_gpu_is_the_same_with_graphs(
    dataset: Path, tmp_path: Path, precision: str
) -> None:
    found = []
    for graphs in ("false", "true"):
        words = [f"--train.cuda_graphs={graphs}", f"--train.mixed_precision={precision}"]
        config = settings(dataset, *words, "--train.epochs=3", "--sequence.dropout=0.1")
        train(replace(config, output=str(tmp_path / graphs)))
        found.append(logged_losses(tmp_path / graphs))
    np.testing.assert_allclose(found[1], found[0], rtol=1e-2)


@pytest.mark.skipif(not CUDA, reason="needs a GPU")
def test_a_graph_gives_what_it_was_recorded_from(dataset: Path) -> None:
    """Without dropout the recorded step's losses are the plain step's, whichever size comes."""
    found = []
    for graphs in ("false", "true"):
        with torch.random.fork_rng(devices=["cuda"]):
            training = prepare(settings(dataset, f"--train.cuda_graphs={graphs}"), Accelerator())
        training.batches.fixed_sizes = True
        found.append(losses_of(training, training.step))
    np.testing.assert_allclose(found[1], found[0], rtol=1e-4)


def logged_losses(run: Path) -> list[float]:
    lines = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    return [line["loss"] for line in lines if "loss" in line]
